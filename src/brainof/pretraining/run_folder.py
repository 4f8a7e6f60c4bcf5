"""The folder of a run: configuration, metrics, lock, and the release that others load.

RUN/config.yaml          the PretrainConfig (a continued run must agree with it)
RUN/metrics.jsonl        one JSON object per line: losses every few steps, health checks, warnings
RUN/tensorboard/, wandb/ the same as curves, where asked for
RUN/about.json           InputContract and record of the data, for releases of single checkpoints
RUN/checkpoints/         training state (see checkpoint.py)
RUN/failed.json          why the run failed its health check, until it is continued with other settings
RUN/release/             config.json, model.safetensors, preprocessing.json: what `brainof.load` reads
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..errors import CheckpointError, ConfigError, HealthError, StorageError
from ..paths import user_path
from ..utils.files import parse_json, write_atomically, write_json
from ..utils.optional import optional
from ..utils.values import finite
from .config import PretrainConfig

log = logging.getLogger(__name__)

FAILED, ABOUT = "failed.json", "about.json"
#: What changes nothing but speed and memory, and may differ from call to call
SPEED = ("loader.", "parallel", "rank_timeout", "recompute", "compile", "tensorboard", "wandb")
#: What may be changed to continue a run that failed
AFTER_FAILURE = ("lr", "warmup", "clip", "weight_decay", "steps", "health_grace", "health_margin")


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder: a second trainer on the same folder is refused at once."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        handle = open(run / ".lock", "w")  # noqa: SIM115 (held open as long as the lock)
    except OSError as error:
        raise StorageError(f"cannot be written ({error.strerror})", file=run, fix="choose another --out") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                "another process is training this run", file=run, fix="wait, or choose another --out"
            ) from None
        except OSError as error:
            log.warning("%s: cannot be locked here (%s); start no second trainer on it", run, error.strerror)
        yield


def settle_config(run: Path, config: PretrainConfig, accept: Collection[str] = ()) -> None:
    """Write the configuration of a new run; a continued run must have the same one.

    What changes nothing but speed (`SPEED`) may differ, and fields in `accept`; else a ConfigError names the first key
    that does. A run that failed goes on from its last checkpoint where fields in `AFTER_FAILURE` differ; a HealthError
    where nothing was changed.
    """
    path, failed = run / "config.yaml", run / FAILED
    if path.exists():
        before, now = flat(type(config).load(path).to_dict()), flat(config.to_dict())
        may_change = (*accept, *(AFTER_FAILURE if failed.exists() else ()))
        fix = "use another --out for another configuration, or accept={!r}"
        changes = [key for key in differing(path, before, now, fix, may_change) if key in may_change]
        if failed.exists() and not changes:
            raise HealthError(
                f"this run failed: {parse_json(failed.read_text())['error']}",
                file=run,
                fix=f"continue it with another {', '.join(AFTER_FAILURE)}, or start anew in another folder",
            )
        for key in changes:
            log.warning("%s: goes on with %s=%s instead of %s", run, key, now.get(key), before.get(key))
        failed.unlink(missing_ok=True)
    write_atomically(path, [yaml.safe_dump(config.to_dict(), sort_keys=False).encode()])


def differing(
    path: Path, before: dict[str, Any], now: dict[str, Any], fix: str, may_change: Collection[str] = ()
) -> list[str]:
    """Settings (see `flat`) that are not those of a folder; a ConfigError for the first that is to stay."""
    different = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    for key in different:
        if not key.startswith(SPEED) and key not in may_change:
            problem = f"the run was started with {before.get(key)!r}, not {now.get(key)!r}"
            raise ConfigError(problem, file=path, field=key, fix=fix.format(key))
    return different


@contextlib.contextmanager
def remember_failure(run: Path) -> Iterator[None]:
    """A run that fails its health check stays failed, also for the next call."""
    try:
        yield
    except HealthError as error:
        write_json(run / FAILED, {"error": error.problem})
        raise


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Leaves of nested settings by their dotted names."""
    if not isinstance(value, dict) or not value:
        return {name: value}
    return {k: leaf for key, part in value.items() for k, leaf in flat(part, f"{name}.{key}".strip(".")).items()}


class Curves(NamedTuple):
    """What draws the numbers of a step, by the names of their curves."""

    add: Callable[[int, dict[str, float]], None]
    close: Callable[[], None]


def open_curves(run: Path, config: PretrainConfig, step: int) -> list[Curves]:
    """Those that a configuration asks for; the run goes on after `step`. A DependencyError without their package.

    TensorBoard's files in RUN/tensorboard hide what was drawn after that step. The run of Weights & Biases goes on when
    this one does; with WANDB_MODE=offline, files in RUN/wandb. Its own steps only ever rise, but a run that was killed
    repeats some: curves are drawn over `step` instead.
    """
    found = []
    if config.tensorboard:
        module = optional("torch.utils.tensorboard", "tensorboard", "tensorboard")
        writer = module.SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

        def add(step: int, values: dict[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        found.append(Curves(add, writer.close))
    if config.wandb:
        module = optional("wandb", "wandb", "wandb")
        name = run / "wandb_id"  # not the path: a folder may hold another run later
        if not name.exists():
            write_atomically(name, [uuid.uuid4().hex[:12].encode()])
        settings = {"id": name.read_text(), "name": run.resolve().name, "dir": str(run), "resume": "allow"}
        drawn = module.init(project="brainof", config=config.to_dict(), **settings)
        drawn.define_metric("*", step_metric="step")
        found.append(Curves(lambda step, values: drawn.log({"step": step, **values}), drawn.finish))
    return found


class Metrics:
    """Appends rows to metrics.jsonl; rows after the step a run resumes from are dropped first. Without a path: none."""

    def __init__(self, path: Path | None, step: int, curves: Sequence[Curves] = ()) -> None:
        self._handle: Any = None
        self._curves = curves
        before = read_metrics(path) if path is not None and path.exists() else []
        self.kept = [row for row in before if row["step"] <= step]
        if path is not None:
            write_atomically(path, ["".join(map(_line, self.kept)).encode()])
            self._handle = open(path, "a", buffering=1)  # noqa: SIM115 (closed by close)

    def write(self, *rows: dict[str, Any]) -> None:
        if self._handle:
            self._handle.writelines(map(_line, rows))
        for curves in self._curves:
            for row in rows:
                curves.add(row["step"], scalars(row))

    def close(self) -> None:
        for opened in (self._handle, *self._curves):
            if opened is not None:
                opened.close()


def scalars(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a row of metrics by the names of their curves: losses and health by dataset, others alone."""
    if "health" in row:
        found = {f"{key}/{name}": value for name, part in row["health"].items() for key, value in part.items()}
    else:
        name, whole = f"{row.get('modality')}/{row.get('dataset')}", {*row} - {"batches"}
        whole -= {key for key in row if key.startswith("loss") and key != "loss_step"}
        found = {f"step/{key}" if key in whole else f"{key}/{name}": value for key, value in row.items()}
    return {key: value for key, value in found.items() if type(value) in (int, float)}


def _line(row: dict[str, Any]) -> str:
    return json.dumps(finite(row)) + "\n"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics file, less a last line that a killed process left half-written; CheckpointError for others."""
    rows = []
    lines = user_path(path).read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            row = parse_json(line)
            int(row["step"])
        except (ValueError, KeyError, TypeError):
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise CheckpointError("is damaged", file=path, field=f"line {number}", fix="delete that line") from None
        rows.append(row)
    return rows


def last_of(key: str, path: Path, step: int | None = None) -> Any:
    """The last value of a key in a metrics file (of `step`, if given); None where there is none."""
    rows = [row for row in read_metrics(path) if key in row and step in (None, row["step"])]
    return rows[-1][key] if rows else None
