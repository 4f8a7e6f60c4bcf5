"""How far a reader walks: files entered on the three ways of docs/architecture.md, in the order of first calls.

    walk_NAME_functions     functions of brainof that the way calls
    walk_NAME_files, _rooms files, and packages, that they are in
    walk_NAME_returns       stretches within one file, less the files: returns to a file already left
    walk_NAME_room_returns  the same by package

NAME is window (file -> windows), loss (windows -> two steps of pretraining and a release) or prediction (checkpoint ->
features -> fitted head -> prediction). Counted by `sys.setprofile` on a simulated cohort, every function at its first
call, methods and helpers included; counted so, no choice of what is worth a reader's while is in it.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import brainof

ROOT = str(Path(brainof.__file__).parent)


def walked(way: Callable[[], object]) -> list[str]:
    """The file of each function of brainof that is called, in the order of first calls."""
    seen: dict[Any, str] = {}

    def look(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(ROOT) and not code.co_name.startswith("<"):
            seen.setdefault(code, str(Path(code.co_filename).relative_to(ROOT)))

    sys.setprofile(look)
    threading.setprofile(look)
    try:
        way()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return list(seen.values())


def stretches(places: list[str]) -> tuple[int, int]:
    """Places, and returns to a place that was left."""
    n_places = len(set(places))
    return n_places, len(list(itertools.groupby(places))) - n_places


def run() -> Iterator[tuple[str, float, str]]:
    """The lines of this benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        for name, way in ways(Path(folder)).items():
            places = walked(way)
            files, returns = stretches(places)
            rooms, room_returns = stretches([str(Path(place).parts[0]) for place in places])
            yield f"walk_{name}_functions", len(places), ""
            yield f"walk_{name}_files", files, ""
            yield f"walk_{name}_returns", returns, ""
            yield f"walk_{name}_rooms", rooms, ""
            yield f"walk_{name}_room_returns", room_returns, ""


def ways(folder: Path) -> dict[str, Callable[[], object]]:
    """The three ways on a simulated cohort, which is made here."""
    from brainof.datasets import find_recipe, prepare
    from brainof.datasets.engines import Engine
    from brainof.prepare import cut, default_chain
    from brainof.prepare.windows import WindowOptions
    from brainof.pretraining import PretrainConfig
    from brainof.simulate.parameters import CohortParameters
    from brainof.simulate.write import write

    cohort = write(CohortParameters(subjects=4, seconds=48, modalities=["eeg"], channels=19), folder / "cohort")
    prepare(find_recipe(str(cohort / "recipe_eeg.yaml")), cohort, folder / "corpus", engine=Engine("serial"))
    file = next(cohort.rglob("*_eeg.vhdr"))
    config = {"model": {"preset": "debug"}, "steps": 2, "batch_size": 4}

    def window() -> object:
        return cut(default_chain("eeg").apply(brainof.read(file)), WindowOptions(length=4.0))

    def loss() -> object:
        return brainof.pretrain(PretrainConfig.parse(config), folder / "corpus", folder / "run")

    def prediction() -> object:
        X = np.random.default_rng(0).standard_normal((8, 3, 512)) * 1e-5
        model = brainof.load("debug")[0]
        head = brainof.BrainOFClassifier(model, sfreq=256.0, channels=["Fz", "Cz", "Pz"])
        return head.fit(X, np.arange(8) % 2).predict(X)

    return {"window": window, "loss": loss, "prediction": prediction}
