"""The folder of a run: configuration, metrics, lock, and the release that others load.

RUN/config.yaml          the PretrainConfig (a continued run must agree with it)
RUN/metrics.jsonl        one JSON object per line: losses every few steps, health checks
RUN/checkpoints/         training state (see checkpoint.py)
RUN/release/             config.json, model.safetensors, preprocessing.json: what `brainof.load` reads
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ..errors import CheckpointError, ConfigError, StorageError
from ..utils.files import write_atomically
from .config import PretrainConfig

log = logging.getLogger(__name__)


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


def settle_config(run: Path, config: PretrainConfig) -> None:
    """Write the configuration of a new run; a continued run must have the same one.

    Raises
    ------
    ConfigError
        Names the first key that differs.
    """
    path = run / "config.yaml"
    if not path.exists():
        write_atomically(path, [yaml.safe_dump(config.to_dict(), sort_keys=False).encode()])
        return
    before, now = _flat(type(config).load(path).to_dict()), _flat(config.to_dict())
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            raise ConfigError(
                f"the run was started with {before.get(key)!r}, not {now.get(key)!r}",
                file=path,
                field=key,
                fix="use another --out for another configuration",
            )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


class Metrics:
    """Appends rows to metrics.jsonl; rows after the step a run resumes from are dropped first."""

    def __init__(self, path: Path, step: int) -> None:
        kept = [row for row in read_metrics(path) if row["step"] <= step] if path.exists() else []
        write_atomically(path, ["".join(_line(row) for row in kept).encode()])
        self._handle = open(path, "a", buffering=1)  # noqa: SIM115 (closed by close)

    def write(self, row: dict[str, Any]) -> None:
        self._handle.write(_line(row))

    def close(self) -> None:
        self._handle.close()


def _line(row: dict[str, Any]) -> str:
    return json.dumps(_finite(row)) + "\n"


def _finite(value: Any) -> Any:
    """JSON knows no NaN: what could not be computed is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics file; a last line that a killed process left half-written is ignored."""
    rows = []
    for line in Path(path).read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def last_health(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of the last health check in a metrics file, by dataset; empty where there was none."""
    return next((row["health"] for row in reversed(read_metrics(path)) if row.get("health")), {})
