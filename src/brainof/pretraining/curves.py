"""Curves of a run while it goes on: TensorBoard and Weights & Biases, where asked for."""

from __future__ import annotations

import uuid
from pathlib import Path

from ..utils.files import write_atomically
from ..utils.optional import optional
from .config import PretrainConfig


def open_curves(run: Path, config: PretrainConfig, step: int) -> list[Curves]:
    """Those that a configuration asks for; the run goes on after `step`. A DependencyError without their package."""
    drawn: list[Curves] = [TensorBoard(run, step)] if config.tensorboard else []
    return [*drawn, WandB(run, config)] if config.wandb else drawn


class TensorBoard:
    """Files in RUN/tensorboard; what was drawn after the step that a run continues from is hidden."""

    def __init__(self, run: Path, step: int) -> None:
        module = optional("torch.utils.tensorboard", "tensorboard", "tensorboard")
        self._writer = module.SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def add(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A run of Weights & Biases that goes on when this one does; with WANDB_MODE=offline, files in RUN/wandb.

    Its own steps only ever rise, but a run that was killed repeats some: curves are drawn over `step` instead.
    """

    def __init__(self, run: Path, config: PretrainConfig) -> None:
        module = optional("wandb", "wandb", "wandb")
        name = run / "wandb_id"  # not the path: a folder may hold another run later
        if not name.exists():
            write_atomically(name, [uuid.uuid4().hex[:12].encode()])
        settings = {"id": name.read_text(), "name": run.resolve().name, "dir": str(run), "resume": "allow"}
        self._run = module.init(project="brainof", config=config.to_dict(), **settings)
        self._run.define_metric("*", step_metric="step")

    def add(self, step: int, values: dict[str, float]) -> None:
        self._run.log({"step": step, **values})

    def close(self) -> None:
        self._run.finish()


#: What draws the numbers of a step, by the names of their curves
Curves = TensorBoard | WandB
