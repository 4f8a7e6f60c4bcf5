"""Pretraining on windows: one run folder, from corpora to a release; exact resume."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..corpus import Loader, Windows, open_corpora
from ..errors import ConfigError
from ..model import BrainOF
from ..release import save_release
from ..utils.modules import seeded
from ..utils.progress import progress
from .checkpoint import load_checkpoint, save_checkpoint
from .config import PretrainConfig
from .data import choose_rows, contract_of, index_of, require_same_rows, rows_digest, sampler_of
from .health import check_batch, require_latent_use
from .masking import Masking, Planner
from .meter import Meter
from .objective import Objective
from .optimizer import Schedule, make_optimizer
from .recipes import find_config
from .record import run_record
from .run_folder import Metrics, last_health, locked, remember_failure, settle_config
from .trainer import Trainer, uses_bfloat16

log = logging.getLogger(__name__)

#: Domain of the random numbers of health checks among those that are derived from the seed of a run
HEALTH_STREAM = 2
#: Fewer windows do not keep a thread busy
WINDOWS_PER_THREAD = 4


def pretrain(
    config: PretrainConfig | str | PathLike[str],
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str],
) -> Path:
    """Pretrain a model on one or more corpora; continues the run in `out` where it stands.

    `config` may be the path of a YAML file, or the name of a shipped recipe. Returned is the run folder, which
    `brainof.load` accepts.

    Raises
    ------
    ConfigError, CorpusError, CheckpointError
        Wrong input, a run folder of another configuration or of other windows, or a process group that is already
        initialised.
    HealthError
        The decoder ignores the latents (after `health_grace`), or the loss is not finite; the run stays failed until it
        is continued with another `lr`, `clip`, ... (`run_folder.AFTER_FAILURE`). The last checkpoint is the last state
        whose losses were finite.
    """
    if not isinstance(config, PretrainConfig):
        config = find_config(config)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        raise ConfigError(
            f"pretrain runs in one process, but a process group of {torch.distributed.get_world_size()} is initialised",
            field="torch.distributed",
            fix="call it outside of the group: its ranks would train models that drift apart",
        )
    paths = [corpus] if isinstance(corpus, (str, PathLike)) else list(corpus)
    corpora = open_corpora(paths)
    folder = Path(out)
    with locked(folder), operator_threads(config.threads):
        run = Run(config, corpora, folder)
        settle_config(folder, config)  # only a configuration that fits the data settles
        with remember_failure(folder):
            run.train()
    return folder


class Run:
    """Model, data and state of one run."""

    def __init__(self, config: PretrainConfig, corpora: Windows, folder: Path) -> None:
        self.config, self.corpora, self.folder = config, corpora, folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = initial_model(config).to(self.device)
        patch = self.model.config.patch
        index = index_of(corpora, config.sampling)
        self.train_rows, self.held_out = choose_rows(index, config.sampling, patch, config.seed)
        self.contract = contract_of(corpora, self.train_rows, patch)
        self.objective = Objective(self.model, config.objective)
        self.sampler = sampler_of(self.train_rows, config, patch)
        self.trainer = trainer_of(self.objective, config, self.device)
        self.metrics = folder / "metrics.jsonl"

    def loader(self) -> Loader:
        """Masked batches, planned ahead of time."""
        config, masking = self.config, masking_of(self.config, self.model.config.patch)
        planner = Planner(masking, self.corpora, config.seed, len(self.sampler), config.accumulate, config.steps)
        ways = config.loader.model_dump()
        augmentation, device = config.augment, self.device
        return Loader(self.corpora, self.sampler, augmentation=augmentation, transform=planner, device=device, **ways)

    def train(self) -> None:
        """Run the remaining steps, then write the release."""
        config = self.config
        loader, meter = self.loader(), Meter(self.objective, config.steps)
        done, started = self._resume(loader, meter)
        metrics = Metrics(self.metrics, done)
        bar = progress(total=config.steps, initial=done, desc="pretrain", unit="step")
        with stop_on_signal() as stopped, closing(metrics), closing(bar), closing(iter(loader)) as batches:
            with closing(self.trainer.steps(batches, done)) as steps:
                for step in steps:
                    done = step.number
                    meter.add(step)
                    bar.update()
                    if done % config.log_every == 0 or done == config.steps:
                        seconds, epoch = time.perf_counter() - started, loader.position[0]
                        for row in meter.rows(loader.waited):
                            metrics.write({"step": done, "epoch": epoch, "seconds": seconds, **row})
                        bar.set_postfix(loss=f"{step.loss.item():.3f}")
                    check = done % config.health_every == 0 and done < config.steps
                    if check or done % config.checkpoint_every == 0 or done == config.steps or stopped.is_set():
                        self._save(done, loader, meter, started)
                    if check:
                        metrics.write({"step": done, "health": self.health()})
                        self._require_health(done)
                    if stopped.is_set():
                        raise KeyboardInterrupt
            if last_health(self.metrics, done) is None:  # it may have been killed between its last step and here
                metrics.write({"step": done, "health": self.health()})
            self._require_health(done)
        about: dict[str, Any] = {"steps": done, "seconds": time.perf_counter() - started}
        about |= {"bfloat16": self.trainer.bfloat16, "health": last_health(self.metrics) or {}}
        record = run_record(config, self.corpora, self.train_rows, self.device, **about)
        save_release(self.folder / "release", self.model, self.contract, **record)

    def health(self) -> dict[str, dict[str, Any]]:
        """Health of each dataset on a fixed batch: held-out subjects where there are any, training windows else."""
        config, rows = self.config, {}
        predict, patch = config.objective.predict, self.model.config.patch
        masking = Masking(config.mask, patch, predict=predict, max_tokens=config.max_tokens)
        for name in sorted(set(self.train_rows["dataset"])):
            held_out = self.held_out[self.held_out["dataset"] == name]
            pool = held_out if len(held_out) >= 2 else self.train_rows[self.train_rows["dataset"] == name]
            rng = np.random.default_rng([config.seed, HEALTH_STREAM])
            shapes = pool.groupby(["n_channels", "n_times"], observed=True).indices
            largest = np.sort(max(shapes.values(), key=len))  # a batch has one shape: the most frequent one
            chosen = np.sort(rng.choice(largest, min(config.batch_size, len(largest)), replace=False))
            batch = self.corpora.batch(pool.index[chosen].tolist(), patch=patch)
            masked = masking.plan(batch, rng, fourier=False)
            if masked is None or len(masked.batch) < 2:
                continue
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.trainer.bfloat16):
                row = check_batch(self.objective, masked.to(self.device))
            rows[name] = {"modality": str(pool["modality"].iloc[0]), "held_out": bool(pool is held_out), **row}
        return rows

    def _require_health(self, step: int) -> None:
        if step >= self.config.health_grace * self.config.steps:
            for name in require_latent_use(last_health(self.metrics) or {}, self.config.health_margin):
                log.warning("%s: the reconstruction does not use the latents (step %d)", name, step)

    def _save(self, step: int, loader: Loader, meter: Meter, started: float) -> None:
        meter.check()
        state = {
            "position": loader.state_dict(),
            "seconds": time.perf_counter() - started,
            "meter": meter.state_dict(),
            "rows": rows_digest(self.train_rows),
        }
        keep = self.config.keep_checkpoints
        save_checkpoint(self.folder / "checkpoints", step, self.model, self.trainer.optimizer, state, keep)

    def _resume(self, loader: Loader, meter: Meter) -> tuple[int, float]:
        """Restore the newest checkpoint; returns the steps done and when the run would have begun without a break."""
        state = load_checkpoint(self.folder / "checkpoints", self.model, self.trainer.optimizer)
        if state is None:
            return 0, time.perf_counter()
        require_same_rows(state["rows"], self.train_rows, self.folder)
        loader.load_state_dict(state["position"])
        meter.load_state_dict(state["meter"])
        return int(state["step"]), time.perf_counter() - float(state["seconds"])


def initial_model(config: PretrainConfig) -> BrainOF:
    """The model of a configuration with random weights, drawn from a stream of their own."""
    overrides = dict(config.model)
    with seeded(config.seed):
        return BrainOF.from_preset(overrides.pop("preset", "tiny"), **overrides)


def masking_of(config: PretrainConfig, patch: int) -> Masking:
    """How a configuration hides."""
    options = {"max_tokens": config.max_tokens, "min_channels": config.min_channels}
    return Masking(config.mask, patch, predict=config.objective.predict, **options)  # type: ignore[arg-type]


def trainer_of(objective: Objective, config: PretrainConfig, device: torch.device) -> Trainer:
    """The loop of a configuration; on a CPU, threads share the windows of a batch."""
    most = max(1, config.batch_size // WINDOWS_PER_THREAD)
    return Trainer(
        objective,
        make_optimizer(objective.model, config),
        Schedule(config.lr, config.warmup, config.steps),
        clip=config.clip,
        accumulate=config.accumulate,
        balance_rate=config.balance_rate,
        bfloat16=uses_bfloat16(config.precision, device),
        threads=min(torch.get_num_threads(), most) if device.type == "cpu" else 1,
    )


@contextlib.contextmanager
def operator_threads(count: int) -> Iterator[None]:
    """CPU threads of torch while it is open; 0 leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that is set when the process is asked to end (Ctrl-C, or a cluster that wants its machine)."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in numbers}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
