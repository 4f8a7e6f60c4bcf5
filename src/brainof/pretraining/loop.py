"""The training loop: one process, any device; exact resume."""

from __future__ import annotations

import functools
import itertools
import logging
import operator
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..corpus import Loader, Windows, open_corpora
from ..errors import HealthError
from ..model import BrainOF, update_balance
from ..release import save_release
from ..utils.progress import progress
from .cast import CastModel
from .checkpoint import load_checkpoint, save_checkpoint
from .config import PretrainConfig
from .data import choose_rows, contract_of, index_of, sampler_of
from .health import check_batch, require_listening
from .masks import WindowRandom
from .mtfm import MTFM, LossSums, Plan
from .optimizer import learning_rate, make_optimizer
from .record import run_record
from .run_folder import Metrics, last_health, locked, settle_config
from .threads import GradientThreads

log = logging.getLogger(__name__)

#: domains of the random streams that are derived from the seed
MASK_STREAM, HEALTH_STREAM = 1, 2
#: fewer windows do not keep a thread busy
WINDOWS_PER_THREAD = 4


def pretrain(
    config: PretrainConfig | str | PathLike[str],
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str],
) -> Path:
    """Pretrain a model on one or more corpora; continues the run in `out` where it stands.

    Parameters
    ----------
    config : PretrainConfig or path of its YAML file
    corpus : path or list of paths
    out : path
        The run folder.

    Returns
    -------
    Path
        The run folder, which `brainof.load` accepts.

    Raises
    ------
    ConfigError, CorpusError, CheckpointError
        Wrong input, or a run folder of another configuration.
    HealthError
        The decoder ignores the latents (after `health_grace`), or the loss is not finite. The state is saved first.
    """
    if not isinstance(config, PretrainConfig):
        config = PretrainConfig.load(config)
    paths = [corpus] if isinstance(corpus, (str, PathLike)) else list(corpus)
    corpora = open_corpora(paths)
    run = Path(out)
    with locked(run):
        trainer = Trainer(config, corpora, run)
        settle_config(run, config)  # only a configuration that fits the data settles
        trainer.train()
    return run


class Trainer:
    """Model, data and state of one run."""

    def __init__(self, config: PretrainConfig, corpora: Windows, run: Path) -> None:
        self.config, self.corpora, self.run = config, corpora, run
        if config.threads:
            torch.set_num_threads(config.threads)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.bfloat16 = self._bfloat16()
        torch.manual_seed(config.seed)
        overrides = dict(config.model)
        self.model = BrainOF.from_preset(overrides.pop("preset", "tiny"), **overrides).to(self.device)
        patch = self.model.config.patch
        self.train_rows, self.held_out = choose_rows(
            index_of(corpora, config.sampling), config.sampling, patch, config.seed
        )
        self.contract = contract_of(corpora, self.train_rows, patch)
        self.objective = MTFM(self.model, config.mask, config.objective)
        # a processor casts weights as slowly as it multiplies with them
        self.cast = CastModel(self.model) if self.bfloat16 and self.device.type == "cpu" else None
        self.training = self.objective if self.cast is None else MTFM(self.cast.model, config.mask, config.objective)
        self.optimizer = make_optimizer(self.model, config)
        self.sampler = sampler_of(self.train_rows, config, patch)
        # on a processor, threads share the windows of a batch; another device is parallel by itself
        most = max(1, config.batch_size // WINDOWS_PER_THREAD)
        count = min(torch.get_num_threads(), most) if self.device.type == "cpu" else 1
        leaves = None if self.cast is None else self.cast.leaves
        self.threads = GradientThreads(list(self.model.parameters()), count, leaves)
        self._stop = False

    def train(self) -> None:
        """Run the remaining steps, then write the release."""
        config = self.config
        start: dict[str, Any] = {"step": 0, "seconds": 0.0, "position": {"epoch": 0, "batch": 0}}
        state = load_checkpoint(self.run / "checkpoints", self.model, self.optimizer) or start
        step, seconds = int(state["step"]), float(state["seconds"])
        rank, world = _rank()
        loader = Loader(
            self.corpora, self.sampler, augmentation=config.augment, device=self.device, rank=rank, world=world
        )
        loader.load_state_dict(state["position"])
        metrics = Metrics(self.run / "metrics.jsonl", step)
        window = _Window()
        batches: Any = _numbered(loader)  # a generator, to be closed
        bar = progress(total=config.steps, initial=step, desc="pretrain", unit="step")
        restore = self._catch_signals()
        started = time.perf_counter() - seconds
        threads = self.threads.open()
        try:
            while step < config.steps and not self._stop:
                row = self._step(step, batches, window)
                step += 1
                bar.update()
                if step % config.log_every == 0 or step == config.steps:
                    now = {"step": step, "epoch": loader.position[0], "seconds": time.perf_counter() - started}
                    for entry in window.rows():
                        metrics.write({**now, **entry, **row})
                    bar.set_postfix(loss=f"{row['loss_step']:.3f}")
                if step % config.health_every == 0 or step == config.steps:
                    self._check_health(step, metrics, loader, started)
                elif step % config.checkpoint_every == 0:
                    self._save(step, loader, started)
            if self._stop:
                self._save(step, loader, started)
                raise KeyboardInterrupt
        finally:
            threads.close()
            restore()
            bar.close()
            metrics.close()
            batches.close()
        record = run_record(
            config,
            self.corpora,
            self.train_rows,
            self.device,
            steps=step,
            seconds=time.perf_counter() - started,
            bfloat16=self.bfloat16,
            health=last_health(self.run / "metrics.jsonl"),
        )
        save_release(self.run / "release", self.model, self.contract, **record)

    def _step(self, step: int, batches: Any, window: _Window) -> dict[str, float]:
        config = self.config
        fourier = step >= config.mask.fourier_start * config.steps
        plans = []
        for micro in range(config.accumulate):
            rng = np.random.default_rng([config.seed, MASK_STREAM, step, micro])
            epoch, batch = next(batches)
            plan = self.objective.plan(
                batch,
                rng,
                windows=WindowRandom((config.seed, MASK_STREAM, epoch), batch.rows),
                progress=step / config.steps,
                fourier=fourier,
                max_tokens=config.max_tokens,
                min_channels=config.min_channels,
            )
            plans.append(plan)
        n_hidden = sum(plan.n_hidden for plan in plans)
        step_windows = sum(len(plan.batch) for plan in plans)
        lr = learning_rate(step, config)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        self.training.model.train()
        started = time.perf_counter()
        if self.cast is not None:
            self.cast.refresh()

        def loss_of(plan: Plan) -> tuple[torch.Tensor, LossSums]:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                sums = self.training.sums(plan, step_windows)
            return self.training.total(sums, step / config.steps) / n_hidden, sums.detach()

        parts = [plan.split(self.threads.count) for plan in plans]
        results = iter(self.threads.backward([part for some in parts for part in some], loss_of))
        total = 0.0
        for plan, some in zip(plans, parts, strict=True):
            losses, sums = zip(*itertools.islice(results, len(some)), strict=True)
            total += sum(losses)
            window.add(plan, functools.reduce(operator.add, sums), self.objective)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        if not np.isfinite(total) or not torch.isfinite(norm):
            raise HealthError(
                f"loss {total}, gradient norm {float(norm)} at step {step}", file=self.run, field="loss", fix="lower lr"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        balance = update_balance(self.model, config.balance_rate)
        window.seconds += time.perf_counter() - started
        return {"loss_step": total, "lr": lr, "grad_norm": float(norm), **balance}

    def _check_health(self, step: int, metrics: Metrics, loader: Loader, started: float) -> None:
        self._save(step, loader, started)
        rows = self.health(step)
        metrics.write({"step": step, "health": rows})
        if step < self.config.health_grace * self.config.steps:
            return
        for name in require_listening(rows, self.config.health_margin):
            log.warning("%s: the reconstruction does not use the latents (step %d)", name, step)

    def health(self, step: int) -> dict[str, dict[str, Any]]:
        """Health of each dataset on a fixed batch: held-out people where there are any, training windows else."""
        rows = {}
        for name in sorted(set(self.train_rows["dataset"])):
            held_out = self.held_out[self.held_out["dataset"] == name]
            pool = held_out if len(held_out) >= 2 else self.train_rows[self.train_rows["dataset"] == name]
            rng = np.random.default_rng([self.config.seed, HEALTH_STREAM])
            # one shape: the most frequent one
            shapes = pool.groupby(["n_channels", "n_times"], observed=True).indices
            largest = np.sort(max(shapes.values(), key=len))
            if len(largest) < 2:
                continue
            chosen = np.sort(rng.choice(largest, min(self.config.batch_size, len(largest)), replace=False))
            batch = self.corpora.batch(pool.index[chosen], patch=self.model.config.patch).to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                row = check_batch(self.objective, batch, rng, self.config.max_tokens)
            rows[name] = {"modality": str(pool["modality"].iloc[0]), "held_out": bool(pool is held_out), **row}
        return rows

    def _save(self, step: int, loader: Loader, started: float) -> None:
        state = {"position": loader.state_dict(), "seconds": time.perf_counter() - started}
        save_checkpoint(self.run / "checkpoints", step, self.model, self.optimizer, state, self.config.keep_checkpoints)

    def _bfloat16(self) -> bool:
        if self.config.precision != "auto":
            return self.config.precision == "bfloat16"
        if self.device.type == "cuda":
            return torch.cuda.is_bf16_supported()
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()

    def _catch_signals(self) -> Any:
        """Stop after the current step and save, when asked to end (Ctrl-C, or a cluster that wants its machine)."""
        if threading.current_thread() is not threading.main_thread():
            return lambda: None

        def stop(*_: Any) -> None:
            self._stop = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return lambda: [signal.signal(number, handler) for number, handler in before.items()]


def _numbered(loader: Loader) -> Iterator[tuple[int, Any]]:
    """Batches, each with the number of its epoch."""
    batches: Any = iter(loader)
    try:
        while True:
            epoch = loader.position[0]
            yield epoch, next(batches)
    finally:
        batches.close()


def _rank() -> tuple[int, int]:
    """Which of how many processes this is; every rank draws its own batches of the one series."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


class _Window:
    """Losses of the batches since the last log, by dataset."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0, 0.0])
        self._windows = 0

    def add(self, plan: Any, sums: LossSums, objective: MTFM) -> None:
        self.objective = objective
        name = "+".join(sorted(set(plan.batch.datasets)))
        entry = self._sums[name, plan.batch.modality]
        for i, value in enumerate(
            (float(sums.time), float(sums.frequency), float(sums.second_order), plan.n_hidden, 1)
        ):
            entry[i] += value
        self._windows += len(plan.batch)

    def rows(self) -> list[dict[str, Any]]:
        """One row per dataset; starts a new window."""
        rows = []
        for (name, modality), (time_sum, frequency_sum, second_sum, n_hidden, n_batches) in self._sums.items():
            loss_time, loss_frequency, loss_second = (x / n_hidden for x in (time_sum, frequency_sum, second_sum))
            loss = float(self.objective.combine(loss_time, loss_frequency, second_order=loss_second))
            rows.append(
                {
                    "dataset": name,
                    "modality": modality,
                    "loss": loss,
                    "loss_time": loss_time,
                    "loss_frequency": loss_frequency,
                    **({"loss_second_order": loss_second} if self.objective.objective.second_order else {}),
                    "batches": int(n_batches),
                    "windows_per_second": self._windows / max(self.seconds, 1e-9),
                }
            )
        self._sums.clear()
        self._windows, self.seconds = 0, 0.0
        return rows
