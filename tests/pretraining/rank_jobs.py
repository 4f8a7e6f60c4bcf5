"""What the ranks of test_parallel.py do; importable, because they are processes of their own."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from brainof.channels import Channels
from brainof.model import BrainOF
from brainof.pretraining import pretrain, trainer
from brainof.pretraining.checkpoint import training_tensors
from brainof.pretraining.config import MaskConfig, PretrainConfig
from brainof.pretraining.masking import MaskedBatch, Masking
from brainof.pretraining.objective import Objective
from brainof.pretraining.parallel import World, open_world, shared_by_ranks
from brainof.pretraining.run import trainer_of
from brainof.signals import SignalBatch

STEPS, PER_STEP = 2, 4


def batch(number: int) -> MaskedBatch:
    """Masked noise in float64: modality, windows, channels and masks differ from batch to batch."""
    rng = np.random.default_rng(number)
    modality, kind, sfreq = (("eeg", "eeg", 256.0), ("meg", "mag", 256.0), ("fmri", "roi", 0.5))[number % 3]
    n = 4 + number % 3
    order = np.arange(n) if modality == "fmri" else None
    names = [f"c{i}" for i in range(n)]
    channels = Channels(names, (kind,) * n, positions=rng.uniform(-0.1, 0.1, (n, 3)), order=order, frame="head")
    windows = [rng.standard_normal((n, 256)) for _ in range(2 + number % 2)]
    made = SignalBatch.from_arrays(windows, channels, sfreq, modality, patch=64).to(torch.float64)
    made = SignalBatch(**{**vars(made), **integers(SignalBatch.from_arrays(windows, channels, sfreq, modality, 64))})
    masked = Masking(MaskConfig(), 64, differences=True).plan(made, rng)
    assert masked is not None
    return masked


def integers(made: SignalBatch) -> dict[str, object]:
    return {name: value for name, value in vars(made).items() if name != "signal_BCT"}


def train(world: World, kind: str, preset: str, objective: dict[str, object]) -> dict[str, object]:
    """Weights, losses and norms after two steps of four batches each, which the ranks share."""
    torch.manual_seed(0)
    model = BrainOF.from_preset(preset).double()
    config = PretrainConfig.parse(
        {
            "steps": STEPS,
            "accumulate": PER_STEP // world.size,
            "warmup": 0.0,
            "clip": 0.05,
            "lr": 1e-3,
            "balance_rate": 0.01,
            "weight_decay": 0.1,
            "precision": "float32",
            "objective": objective,
        }
    )
    whole = Objective(model, config.objective)
    replica = shared_by_ranks(whole, world, kind)
    loop = trainer_of(whole, config, torch.device("cpu"), world=world, replica=replica)
    steps = list(loop.steps(batch(i) for i in range(world.rank, STEPS * PER_STEP, world.size)))
    weights = {name: full(value) for name, value in training_tensors(model, loop.optimizer).items()}
    losses = [sum(world.gather(step.loss.item())) for step in steps]
    return {"weights": weights, "losses": losses, "norms": [step.norm.item() for step in steps]}


def trained_in_bfloat16(rank: int, settings: dict[str, Any], corpus: str, out: str) -> dict[str, Any]:
    """Losses of a run in bfloat16, and the dtypes of weights within blocks, outside of them, and of a rank's parts."""
    from pathlib import Path

    from brainof.corpus import open_corpora
    from brainof.pretraining.run import Run

    used: dict[str, torch.dtype] = {}
    with open_world(settings.get("parallel", "auto"), timeout=60) as world:
        made = Run(PretrainConfig.parse(settings | {"precision": "bfloat16"}), open_corpora(corpus), Path(out), world)
        for name, block in (("block", made.model.blocks[0]), ("outside", made.model.decoders[0].blocks[0])):
            query = block.attention.query
            query.register_forward_hook(lambda linear, *_, name=name: used.update({name: linear.weight.dtype}))
        steps = list(made.trainer.steps(iter(made.loader())))
        losses = [sum(world.gather(step.loss.item())) for step in steps]
        parts = {parameter.dtype for parameter in made.model.parameters()}
        return {"losses": losses, "norms": [step.norm.item() for step in steps], "parts": parts, **used}


def full(value: torch.Tensor) -> np.ndarray:
    whole = value.full_tensor() if hasattr(value, "full_tensor") else value
    return whole.detach().numpy()


def trained_on_ranks(rank: int, kind: str, cases: list[tuple[str, dict[str, object]]]) -> list[dict[str, object]]:
    with open_world(kind, timeout=60) as world:
        return [train(world, kind, *case) for case in cases]


def pretrained(rank: int, settings: dict[str, Any], corpora: list[str], out: str, fault: str = "") -> str:
    """A whole run; in rank 1 with a fault: "die" or "hang" in step 4, or "nan" in the signal of its third batch."""
    if fault and rank == 1:
        FAULTS[fault]()
    return str(pretrain(PretrainConfig.parse(settings), corpora[min(rank, len(corpora) - 1)], out))


def continued(rank: int, settings: dict[str, Any], corpus: str, out: str, accept: tuple[str, ...] = ()) -> list[str]:
    """A run goes on; returns what it said meanwhile."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("brainof").addHandler(handler)
    pretrain(PretrainConfig.parse(settings), corpus, out, accept)
    return said


def killed_in_step(rank: int, settings: dict[str, Any], corpus: str, out: str, step: int) -> None:
    _in_step(step, FAULTS["kill"])
    pretrain(PretrainConfig.parse(settings), corpus, out)


def _in_step(number: int, act: Callable[[], object]) -> None:
    original = trainer.learning_rate

    def failing(step: int, schedule: Any) -> float:
        if step == number - 1:
            act()
        return original(step, schedule)

    trainer.learning_rate = failing


def _spoil() -> None:
    from dataclasses import replace

    plan, count = Masking.plan, iter(range(1000))

    def spoilt(self: Masking, *args: Any, **options: Any) -> MaskedBatch | None:
        masked = plan(self, *args, **options)
        if masked is not None and next(count) == 2:
            masked = replace(masked, batch=replace(masked.batch, signal_BCT=masked.batch.signal_BCT * math.nan))
        return masked

    Masking.plan = spoilt  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "die": lambda: _in_step(4, lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "hang": lambda: _in_step(4, lambda: time.sleep(60)),
    "stop": lambda: _in_step(4, lambda: os.kill(os.getpid(), signal.SIGUSR1)),
    "nan": _spoil,
}


def saved_on_a_full_disk(rank: int, folder: str) -> None:
    import resource
    from pathlib import Path

    from brainof.pretraining.checkpoint import Checkpoints

    model = torch.nn.Linear(64, 64)
    with open_world("ddp", timeout=60) as world:
        checkpoints = Checkpoints(Path(folder), model, torch.optim.AdamW(model.parameters()), keep=2, world=world)
        checkpoints.save(1, {})
        checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        checkpoints.save(2, {})
        checkpoints.wait()


def terminated(rank: int, corpus: str, out: str) -> tuple[float, str]:
    """The recipe `tiny`, rank 1 of which gets SIGTERM in step 3: seconds until `pretrain` returns, and what."""
    from brainof.pretraining import find_config

    asked = []
    if rank == 1:
        _in_step(3, lambda: asked.append(time.perf_counter()) or os.kill(os.getpid(), signal.SIGTERM))
    run = pretrain(find_config("tiny"), corpus, out)
    return time.perf_counter() - asked[0] if asked else 0.0, str(run)


def started_in_parts(rank: int, settings: dict[str, Any], corpus: str, out: str) -> dict[str, Any]:
    """Weights of a model of which no rank has held the whole, and the loss of its first step."""
    from pathlib import Path

    from brainof.corpus import open_corpora
    from brainof.pretraining import run

    run.IN_PARTS = 0
    with open_world("fsdp", timeout=60) as world:
        made = run.Run(PretrainConfig.parse(settings), open_corpora(corpus), Path(out), world)
        weights = {name: full(value) for name, value in training_tensors(made.model, made.trainer.optimizer).items()}
        step = next(made.trainer.steps(iter(made.loader())))
        return {"weights": weights, "norm": step.norm.item()}
