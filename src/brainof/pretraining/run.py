"""Pretraining on windows: one run folder, from corpora to a release; exact resume."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..corpus import Loader, Windows, open_corpora
from ..errors import ConfigError, CorpusError, HealthError
from ..model import count
from ..paths import user_path
from ..utils.progress import progress
from ..utils.threads import operator_threads
from . import data
from .checkpoint import Checkpoints, complete_checkpoints
from .config import PretrainConfig
from .health import check_batch, require_latent_use
from .masking import MaskedBatch, Masking, Planner
from .meter import Meter
from .objective import Objective
from .optimizer import Average, Schedule, make_optimizer
from .parallel import World, batches_of, draw_parts, gathered, open_world, prepare_blocks, shared_by_ranks
from .recipes import find_config
from .record import hardware, write_record
from .run_folder import Metrics, last_of, locked, open_curves, remember_failure, settle_config
from .trainer import Trainer, multiplies_in_bfloat16, uses_bfloat16
from .views import planner_of
from .watch import Watch
from .weights import initial_model, require_whitening, start_from, trained_teacher, whiten, write_release

log = logging.getLogger(__name__)

#: Domain of the random numbers of health checks among those that are derived from the seed of a run
HEALTH_STREAM = 2
#: Parameters from which on ranks that share a model draw their own parts of it
IN_PARTS = 10**9
#: Fewer windows do not keep a thread busy
WINDOWS_PER_THREAD = 4


def pretrain(
    config: PretrainConfig | str | PathLike[str],
    corpus: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    accept: Collection[str] = (),
) -> Path:
    """Pretrain a model on one or more corpora; continues the run in `out` where it stands.

    `config` may be the path of a YAML file, or the name of a shipped recipe. Returned is the run folder, which
    `brainof.load` accepts.

    Fields in `accept` (dotted names) may differ from those that the run was started with; a change is logged.

    Raises
    ------
    ConfigError, CorpusError, CheckpointError
        Wrong input, a run folder of another configuration or of other windows, or a process group that is already
        initialised.
    HealthError
        The decoder ignores the latents (after `health_grace`; a warning in a trial, see `health_margin`), or the loss
        is not finite; the run stays failed until it is continued with another `lr`, `clip`, ...
        (`run_folder.AFTER_FAILURE`). The last checkpoint is the last state whose losses were finite.
    """
    if not isinstance(config, PretrainConfig):
        config = find_config(config)
    paths = [corpus] if isinstance(corpus, (str, PathLike)) else list(corpus)
    folder = user_path(out)
    with (
        open_world(config.parallel, config.rank_timeout) as world,
        operator_threads(config.threads),
        contextlib.ExitStack() as held,
    ):
        with world.together():
            corpora = open_corpora(paths)
            if world.main:
                held.enter_context(locked(folder))
        with world.together():
            run = Run(config, corpora, folder, world)
        with world.together():
            if world.main:
                settle_config(folder, config, accept)  # only a configuration that fits the data settles
        if world.main:
            held.enter_context(remember_failure(folder))
        run.train()
    return folder


class Run:
    """Model, data and state of one run."""

    def __init__(self, config: PretrainConfig, corpora: Windows, folder: Path, world: World | None = None) -> None:
        self.config, self.corpora, self.folder, self.world = config, corpora, folder, world or World()
        self.device = self.world.device
        self.signals: list[int] = []
        with self.world.together():
            self.batches_each, self.ranks_each = batches_of(config.accumulate, self.world.size)
            sharded = config.parallel in ("fsdp", "fsdp_ep") and self.world.size > 1 and config.start is None
            # no rank is to hold the whole of a model that large, not even at the start
            on_meta = sharded and count(config.architecture)["total"] >= IN_PARTS
            self.model = initial_model(config, on_meta)
            if config.start is not None and not complete_checkpoints(folder / "checkpoints"):
                start_from(self.model, config.start)
            self.model = self.model if on_meta else self.model.to(self.device)
            patch = self.model.config.patch
            index = data.index_of(corpora, config.sampling, "align" in config.objective.terms)
            self.train_rows, self.held_out = data.choose_rows(index, config.sampling, patch, config.seed)
            self.contract = data.contract_of(corpora, self.train_rows, patch)
            require_teacher(config)
            require_whitening(self.model.config, config, self.train_rows)
            self.objective = Objective(self.model, config.objective)
            asked, rows = self.objective.asked, self.train_rows
            self.views = planner_of(config.objective, asked, corpora, rows, config.seed, patch)
            self.sampler = data.sampler_of(self.train_rows, config, patch)
            self.masking = masking_of(config, patch, self.model.config.rates)
        with self.world.together():
            self._require_agreement()
        prepare_blocks(self.model, recompute=config.recompute, compiled=config.compile)
        bfloat16 = uses_bfloat16(config.precision, self.device)
        if bfloat16 and not multiplies_in_bfloat16(self.device):
            log.warning("bfloat16 is emulated on this processor, many times slower; set precision=auto")
        replica = shared_by_ranks(self.objective, self.world, config.parallel, bfloat16=bfloat16)
        if on_meta:
            draw_parts(self.model, self.world, config.seed)
        average = Average(self.model, config.average) if config.average else None
        if config.objective.teacher == "average":
            assert average is not None
            self.objective.learn_from(average.model_of(self.model))
        elif config.objective.teacher != "self":
            self.objective.learn_from(trained_teacher(config.objective.teacher).to(self.device))
        self.trainer = trainer_of(
            self.objective,
            config,
            self.device,
            accumulate=self.batches_each,
            world=self.world,
            replica=replica,
            average=average,
            asked_to_stop=lambda: bool(self.signals),
        )
        self.checkpoints = Checkpoints(
            folder / "checkpoints", self.model, self.trainer.optimizer, config.keep_checkpoints, self.world
        )
        self.checkpoints.extra = average.tensors if average else {}
        self.metrics = folder / "metrics.jsonl"

    def _require_agreement(self) -> None:
        """Refuse ranks that were started with other settings or see other windows."""
        mine = self.config.to_dict(), data.rows_digest(self.train_rows)
        for rank, (settings, rows) in enumerate(self.world.gather(mine)):
            if settings != mine[0]:
                fix = "start all ranks with one command line"
                text = f"rank {rank} has other settings than rank {self.world.rank}"
                raise ConfigError(text, field="config", fix=fix)
            if rows != mine[1]:
                counts = sum(rows["windows"].values()), sum(mine[1]["windows"].values())
                text = f"rank {rank} sees {counts[0]} training windows, rank {self.world.rank} sees {counts[1]}, "
                fix = "give every machine the same corpora"
                raise CorpusError(f"{text}and they are not the same", field="corpus", fix=fix)

    def loader(self) -> Loader:
        """Masked batches, planned ahead of time."""
        config = self.config
        stream, part = divmod(self.world.rank, self.ranks_each)
        sizes = len(self.sampler), config.accumulate, config.steps
        planner = Planner(self.masking, self.corpora, config.seed, *sizes, part, self.ranks_each, self.views)
        return Loader(
            self.corpora,
            self.sampler,
            augmentation=config.augment,
            transform=planner,
            device=self.device,
            rank=stream,
            world=self.world.size // self.ranks_each,
            **config.loader.model_dump(),
        )

    def train(self) -> None:
        """Run the remaining steps, then write the release."""
        config, world = self.config, self.world
        loader, meter = self.loader(), Meter(self.objective, config.steps, world, self.ranks_each)
        done, started = self._resume(loader, meter)
        bar = progress(total=config.steps, initial=done, desc="pretrain", unit="step", quiet=not world.main)
        with stop_on_signal(self.signals), closing(bar), contextlib.ExitStack() as opened:
            with world.together():
                if world.main:
                    self._describe(done)
                curves = open_curves(self.folder, config, done) if world.main else []
            metrics = opened.enter_context(closing(Metrics(self.metrics if world.main else None, done, curves)))
            opened.enter_context(closing(self.checkpoints))
            watch = self.watch = Watch(metrics.kept)
            batches = opened.enter_context(closing(iter(loader)))
            with closing(self.trainer.steps(batches, done)) as steps:
                for step in steps:
                    done = step.number
                    meter.add(step)
                    bar.update()
                    if done % config.log_every == 0 or done == config.steps:
                        rows = meter.rows(loader.waited)  # refuses steps that are not finite
                        now = {"step": done, "epoch": loader.position[0], "seconds": time.perf_counter() - started}
                        metrics.write(*(now | row for row in rows))
                        metrics.write(*({"step": done, "warning": text} for text in watch.look(rows)))
                        say(bar, now | rows[0])
                    check = done % config.health_every == 0 and done < config.steps
                    if check or done % config.checkpoint_every == 0 or done == config.steps or step.stop:
                        self._save(done, loader, meter, started)
                    if check:
                        self._check_health(done, metrics)
                    if step.stop and done < config.steps:
                        self.checkpoints.wait()
                        text = "%s: asked to stop; saved at step %d, the same command continues"
                        log.warning(text, self.folder, done)
                        if signal.SIGINT in self.signals:
                            raise KeyboardInterrupt
                        return
            if self.last_health(done) is None:  # it may have been killed just before
                self._check_health(done, metrics)
            else:
                self._require_health(done, metrics)
            self.checkpoints.wait()
        with world.together():
            if world.main:
                of = self.corpora, self.train_rows, config
                write_release(self.folder, self.folder / "release", "latest", lambda model: whiten(model, *of))

    def _describe(self, done: int) -> None:
        """What releases say of the run beside its weights, and what they read; the log says what was chosen."""
        of = self.contract, self.config, self.corpora, self.train_rows
        bfloat16, ranks = self.trainer.bfloat16, self.world.size
        write_record(self.folder, *of, device=self.device, bfloat16=bfloat16, ranks=ranks)
        about = "bfloat16" if bfloat16 else "float32", "" if self.config.compile else "not "
        log.info("training in %s, blocks %scompiled, on %s", *about, hardware(self.device, ranks))
        if done:
            log.info("%s: goes on after step %d", self.folder, done)

    @cached_property
    def health_batches(self) -> dict[str, tuple[dict[str, Any], MaskedBatch]]:
        """A fixed masked batch of each dataset: of held-out subjects where there are any, of training windows else."""
        config, found, masking = self.config, {}, replace(self.masking, min_channels=1.0)
        for name in sorted(set(self.train_rows["dataset"])):
            held_out = self.held_out[self.held_out["dataset"] == name]
            pool = held_out if len(held_out) >= 2 else self.train_rows[self.train_rows["dataset"] == name]
            rng = np.random.default_rng([config.seed, HEALTH_STREAM])
            shapes = pool.groupby(["n_channels", "n_times"], observed=True).indices
            # a batch has one shape: the most frequent one
            largest = np.sort(max(map(np.asarray, shapes.values()), key=len))
            chosen = np.sort(rng.choice(largest, min(config.batch_size, len(largest)), replace=False))
            batch = self.corpora.batch(pool.index[chosen].tolist(), patch=masking.patch)
            masked = masking.plan(batch, rng, fourier=False)
            if masked is not None and len(masked.batch) > 1:
                about = {"modality": str(pool["modality"].iloc[0]), "held_out": bool(pool is held_out)}
                found[name] = about, masked
        return found

    def health(self) -> dict[str, dict[str, Any]]:
        """Health of each dataset on its batch; ranks take datasets in turn, all of them equally many."""
        batches, rank, size = self.health_batches, self.world.rank, self.world.size
        names, mine = list(batches), {}
        for turn in range(0, len(names), size):
            name = names[(turn + rank) % len(names)]
            about, masked = batches[name]
            rows = self.train_rows if about["held_out"] is False else self.held_out
            people = rows.loc[list(masked.batch.rows), "subject"].astype(str).tolist()
            autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.trainer.bfloat16)
            # nothing is compiled for a check: it would take minutes to save a second
            eagerly = torch.compiler.set_stance("force_eager") if self.config.compile else contextlib.nullcontext()
            with gathered(self.objective), autocast, eagerly:
                mine[name] = about | check_batch(self.objective, masked.to(self.device), people)
        found = {name: row for part in self.world.gather(mine) for name, row in part.items()}
        return {name: found[name] for name in names}

    def last_health(self, step: int | None = None) -> dict[str, dict[str, Any]] | None:
        """The last health check (of `step`, if given) by dataset, which the first rank reads; None without one."""
        return self.world.from_main(lambda: last_of("health", self.metrics, step))

    def _check_health(self, step: int, metrics: Metrics) -> None:
        health = self.health()
        metrics.write({"step": step, "health": health})
        scores = [row["r2"] for row in health.values() if np.isfinite(row.get("r2", np.nan))]
        self.checkpoints.rate(step, float(np.mean(scores)) if scores else -np.inf)
        self._require_health(step, metrics)

    def _require_health(self, step: int, metrics: Metrics) -> None:
        config = self.config
        if step < config.health_grace * config.steps:
            return
        try:
            self.watch.require_latents()
            ignoring = require_latent_use(self.last_health() or {}, config.margin)
        except HealthError as error:
            if not config.trial:
                raise
            log.warning("%s; %d steps are a trial, whose release says so", error.problem, config.steps)
            metrics.write({"step": step, "trial": error.problem})
            return
        for name in ignoring:
            log.warning("%s: the reconstruction does not use the latents (step %d)", name, step)

    def _save(self, step: int, loader: Loader, meter: Meter, started: float) -> None:
        begun = time.perf_counter()
        state = {
            "meter": meter.state_dict(),  # refuses steps that are not finite: first of all
            "position": loader.state_dict(),
            "seconds": time.perf_counter() - started,
            "rows": data.rows_digest(self.train_rows),
        }
        self.checkpoints.save(step, state)
        meter.saving_seconds += time.perf_counter() - begun

    def _resume(self, loader: Loader, meter: Meter) -> tuple[int, float]:
        """Restore the newest checkpoint; returns the steps done and when the run would have begun without a break."""
        state = self.checkpoints.load()
        if state is None:
            return 0, time.perf_counter()
        data.require_same_rows(state["rows"], self.train_rows, self.folder)
        loader.load_state_dict(state["position"])
        meter.load_state_dict(state["meter"])
        return int(state["step"]), time.perf_counter() - float(state["seconds"])


def require_teacher(config: PretrainConfig) -> None:
    """Refuse a teacher that there is not, and looks of some batches alone where ranks have to encode equally often."""
    for name, what in {"align": "people who have partners", "networks": "regions of networks"}.items():
        if name in config.objective.terms and config.parallel in ("fsdp", "fsdp_ep"):
            text = f"ranks that share a model encode equally often, and not every batch holds {what}"
            raise ConfigError(text, field="parallel", fix=f"set parallel=ddp, or leave objective.terms.{name} out")
    if config.objective.teacher == "self":
        return
    if config.objective.teacher == "average" and not config.average:
        fix = "set average=0.99, or objective.teacher=self"
        raise ConfigError("the teacher is the average of the weights, and none is kept", field="average", fix=fix)
    if config.parallel in ("fsdp", "fsdp_ep"):
        fix = "set parallel=ddp, or objective.teacher=self"
        raise ConfigError("a teacher needs whole weights on every rank", field="parallel", fix=fix)


def masking_of(config: PretrainConfig, patch: int, rates: Mapping[str, float] | None = None) -> Masking:
    """How a configuration hides, for a model of this patch and these rates."""
    predict, limits = config.objective.predict, (config.max_tokens, config.min_channels)
    differences = bool(config.objective.connectivity) and config.objective.connectivity_of == "difference"
    return Masking(config.mask, patch, predict, *limits, rates or {}, differences)


def trainer_of(objective: Objective, config: PretrainConfig, device: torch.device, **sharing: Any) -> Trainer:
    """The loop of a configuration; on a CPU, threads share the windows of a batch where no ranks do.

    `sharing` are the arguments of `Trainer` on ranks.
    """
    most = max(1, config.batch_size // WINDOWS_PER_THREAD)
    alone = device.type == "cpu" and sharing.get("world", World()).size == 1
    options: dict[str, Any] = {"accumulate": config.accumulate, **sharing}
    return Trainer(
        objective,
        make_optimizer(objective.model, config),
        Schedule(config.lr, config.warmup, config.steps, config.cooldown),
        clip=config.clip,
        balance_rate=config.balance_rate,
        bfloat16=uses_bfloat16(config.precision, device),
        threads=min(torch.get_num_threads(), most) if alone else 1,
        **options,
    )


def say(bar: Any, row: dict[str, Any]) -> None:
    """The state of the run beside the bar, or as a line where there is no terminal."""
    text = f"loss {row['loss_step']:.3f}, {row['windows_per_second']:.0f} windows/s, "
    text += f"{row['tokens_per_second']:.0f} tokens/s, data wait {100 * row['data_wait']:.1f} %"
    text += f", MFU {row['mfu']:.2f}" if "mfu" in row else ""
    bar.set_postfix_str(text)
    if bar.disable:
        left = (bar.total - row["step"]) * row["seconds"] / max(1, row["step"])
        log.info("step %d of %d: %s, %s left", row["step"], bar.total, text, bar.format_interval(left))


@contextlib.contextmanager
def stop_on_signal(received: list[int]) -> Iterator[None]:
    """Note what asks the process to end: Ctrl-C, or a cluster that wants its machine (SIGTERM, SIGUSR1)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
