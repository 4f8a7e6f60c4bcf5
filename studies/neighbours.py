"""Our models inside the benches of others, whose packages stay as they are: MOABB, Brainmarks, NeuroAtlas.

The last two pin packages that ours do not fit (setuptools below 67, NumPy below 2), so they get an environment of their
own, in which those pins are lifted; their code is not touched. Each runs its smallest task that needs no download.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainof.errors import DependencyError, ReadError
from brainof.utils.files import make_folder, write_atomically
from brainof.utils.modules import seeded
from brainof.utils.progress import timed
from studies.neighbours_data import NAME, SPACE
from studies.tables import markdown

PACKAGES = ("brainmarks==0.1.1", "neuroatlas-bench==0.1.1")
#: Pins of the two packages that are lifted, and what they then miss
LIFTED = ("numpy>=2", "setuptools>=60", "scikit-learn>=1.5", "braindecode>=1.4", "fsspec>=2024", "datasets>=3")
HOME = Path(__file__).parents[1]

_PAGE = """\
# In the benches of others

Written by `./run study neighbours --model {model} --root DATA`. The packages are those of the package index, unchanged;
the model goes in by the adapters of `brainof.interop`. Scores are the benches' own; with random weights they say that
the path works, not how good a model is.

- **MOABB {moabb}**: its simulated dataset through `CrossSubjectEvaluation`. Its other datasets are downloads.
- **Brainmarks 0.1.1**: `main_logistic` on a dataset of ours (sex, {people} people, 122 regions), beside its own
  connectome. Its datasets need credentials that one asks for by a form.
- **NeuroAtlas 0.1.1**: its task EEGMat on the 18 of 36 people at hand, 5 folds of people instead of leaving one out.
  Its `data prepare` refuses part of a dataset, so its preprocessor was called. Weights of its other models are
  downloads.

"""
#: Run with: folder of the data, then what `brainof.interop.brainmarks` takes
_BRAINMARKS = """\
import sys
from pathlib import Path
from brainof.interop.brainmarks import main
from studies.neighbours_data import register
register(Path(sys.argv[1]), "connectome")
main(sys.argv[2:])
"""


def neighbours(root: Path, out: Path, say: Callable[[str], None], *, model: str) -> Path:
    """Make the environment, run the three benches, write `neighbours.md`.

    Parameters
    ----------
    root : Path
        Folder of the recordings; `eegmat` and `rpn_rest_mist122` are used.
    out : Path
        Everything is written here; the environment too, as `environment`.
    say : callable
        Called with a line of progress.
    model : str
        What `brainof.load` takes.
    """
    for folder in ("eegmat", "rpn_rest_mist122"):
        if not (root / folder).is_dir():
            raise ReadError("no such dataset folder", file=root / folder, fix="give the folder of recordings by --root")
    tell, out, root = timed(say), out.resolve(), root.resolve()
    make_folder(out)
    inside_moabb = moabb(model, out / "moabb")
    tell(f"MOABB: {inside_moabb.to_dict('records')}")
    python = environment(out / "environment")
    tell(f"environment: {python}")
    sex = brainmarks(python, root / "rpn_rest_mist122", out / "brainmarks", model)
    tell("Brainmarks")
    arithmetic = neuroatlas(python, root / "eegmat" / "edf", out / "neuroatlas", model)
    tell("NeuroAtlas")
    import moabb as package

    text = _PAGE.format(model=model, moabb=package.__version__, people=int(sex.pop("people").iloc[0]))
    for title, frame in (
        ("MOABB: simulated left or right hand, AUC", inside_moabb),
        ("Brainmarks: sex, balanced accuracy over random splits (chance .5)", sex),
        ("NeuroAtlas: rest or mental arithmetic, balanced accuracy over folds (chance .5)", arithmetic),
    ):
        text += f"## {title}\n\n{markdown(frame)}\n\n"
    write_atomically(out / "neighbours.md", [text.rstrip("\n").encode() + b"\n"])
    return out / "neighbours.md"


def environment(folder: Path) -> str:
    """The Python of the environment, made where it is not there."""
    python = folder / "bin" / "python"
    uv = shutil.which("uv")
    if not (folder / "complete").exists():
        if uv is None:
            raise DependencyError("needs uv, which can lift pins", field="neighbours", fix="pip install uv")
        pins = [line for line in (HOME / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
        make_folder(folder.parent)
        for name, lines in (("lifted.txt", LIFTED), ("pins.txt", pins)):
            (folder.parent / name).write_text("\n".join(lines) + "\n")
        called([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)])
        options = ["--override", str(folder.parent / "lifted.txt"), "-c", str(folder.parent / "pins.txt")]
        links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS", "")
        more = {"VIRTUAL_ENV": str(folder), **({"UV_FIND_LINKS": links} if links else {})}
        called([uv, "pip", "install", "-q", *options, *PACKAGES, "-e", str(HOME)], more)
        for library in folder.glob("lib/python*/site-packages/torchaudio/lib/*.so"):
            library.unlink()  # exists for CUDA alone, as ./run says
        (folder / "complete").touch()
    return str(python)


def called(command: Sequence[str], more: dict[str, str] | None = None) -> str:
    """Standard output of a command; its last lines of error where it fails."""
    done = subprocess.run(command, env={**os.environ, **(more or {})}, capture_output=True, text=True, cwd=HOME)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        text = " ".join(line.strip() for line in lines[-3:])
        raise DependencyError(f"{' '.join(map(str, command[:4]))} ...: {text}", field="neighbours")
    return done.stdout


def moabb(model: str, out: Path) -> pd.DataFrame:
    """MOABB's own cross-subject evaluation of its simulated dataset; the head alone is trained."""
    from braindecode import EEGClassifier
    from moabb import set_log_level
    from moabb.datasets.fake import FakeDataset
    from moabb.evaluations import CrossSubjectEvaluation
    from moabb.paradigms import LeftRightImagery
    from pyriemann.estimation import Covariances
    from pyriemann.tangentspace import TangentSpace
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from brainof.interop import BrainOFModule

    set_log_level("error")
    os.environ.setdefault("MNE_DATA", str(out))  # where its simulated recordings go
    options = {"module__model": model, "module__adapt": "frozen", "module__unit": "none", "verbose": 0}
    pipelines = {
        f"brainof {model}, frozen": EEGClassifier(BrainOFModule, max_epochs=10, lr=1e-3, train_split=None, **options),
        "tangent space": make_pipeline(Covariances("oas"), TangentSpace(), LogisticRegression(max_iter=500)),
    }
    rows = []
    for name, pipeline in pipelines.items():
        dataset = FakeDataset(["left_hand", "right_hand"], n_subjects=3, n_sessions=1, n_runs=1, seed=0)
        evaluation = CrossSubjectEvaluation(
            paradigm=LeftRightImagery(fmin=1, fmax=40),
            datasets=[dataset],
            overwrite=True,
            hdf5_path=str(out),
            random_state=0,
            return_epochs="brainof" in name,
        )
        with seeded(0):  # of the head
            found = evaluation.process({name: pipeline})
        rows.append({"pipeline": name, "score": found["score"].mean(), "SD": found["score"].std(), "n": len(found)})
    return pd.DataFrame(rows)


def brainmarks(python: str, folder: Path, out: Path, model: str, trials: int = 5) -> pd.DataFrame:
    """Brainmarks' logistic evaluation of our mean latent and of its connectome, on the same random splits."""
    options = ["device=cpu", "amp=false", "num_workers=1", f"n_trials={trials}", f"output_root={out}"]
    shutil.rmtree(out, ignore_errors=True)  # it refuses a folder of other settings
    rows = []
    ours = [f"model_kwargs.model={model}", f"model_kwargs.space={SPACE}"]
    for name, kind, own in (("brainof", "patch", ours), ("connectome", "cls", [])):
        command = [python, "-c", _BRAINMARKS, str(folder), "logistic", name, kind, NAME, "--overrides", *options, *own]
        called(command, {"PYTHONPATH": str(HOME), "WANDB_MODE": "disabled"})
        (table,) = out.glob(f"*/{NAME}__{name}__{kind}__logistic/eval_table.csv")
        scores = pd.read_csv(table).query("split == 'test' and trial == trial")["bacc"]
        shown = f"brainof {model}" if name == "brainof" else "connectome of Brainmarks"
        rows.append({"model": shown, "balanced accuracy": scores.mean(), "SD": scores.std(), "splits": len(scores)})
    from studies.neighbours_data import samples

    return pd.DataFrame(rows).assign(people=len(samples(folder)))


def neuroatlas(python: str, edf: Path, home: Path, model: str, folds: str = "0,1,2,3,4") -> pd.DataFrame:
    """NeuroAtlas' embed and probe verbs on EEGMat."""
    more = {"NEUROATLAS_HOME": str(home), "NEUROATLAS_OFFLINE": "1"}
    prepared = home / "artifacts" / "embedding_cache" / "prepared" / "eegmat"
    if not prepared.exists():
        module = "neuroatlas.extensions.datasets.preprocessors.preprocess_cognitive"
        called([python, "-m", module, "--dataset", "eegmat", "--raw-dir", str(edf), "--output", str(prepared)], more)
    ours = [python, "-m", "brainof.interop.neuroatlas", "--model", model]
    asked = ["--dataset", "eegmat", "--set", "confound_control=true", "--pooling", "mean"]
    asked += ["--set", "n_folds=5", "--folds", folds, "--models", "brainof"]
    tuned = ["--probe-type", "linear", "--tune-c", "0.001,0.01,0.1,1,10,100", "--seeds", "0", "--max-iter", "1000"]
    called([*ours, "embed", *asked], more)
    called([*ours, "probe", *asked, *tuned, "--output-root", str(home / "results")], more)
    (found,) = (home / "results").rglob("results.json")
    scores = probed(json.loads(found.read_text()))
    row = {
        "model": f"brainof {model}",
        "balanced accuracy": np.mean(scores),
        "SD": np.std(scores),
        "folds": len(scores),
    }
    return pd.DataFrame([row])


def probed(results: list[dict[str, Any]]) -> list[float]:
    """Balanced accuracy of each finished fold; the probe of the best of its seeds, of which we ask one."""
    return [row["metrics"]["best_test"]["balanced_accuracy"] for row in results if row["ok"]]
