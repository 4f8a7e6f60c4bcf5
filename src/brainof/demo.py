"""The demo: a simulated tri-modal cohort from raw files to one page, in minutes on two cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .channels import MODALITIES
from .corpus import Corpus
from .datasets import prepare
from .evaluation import Suite, evaluate
from .explain import explain
from .pretraining import find_config, pretrain
from .report.explanations import write_explanations
from .report.report import report
from .simulate import CohortParameters
from .simulate.write import write
from .utils.progress import timed


def demo(
    out: Path, say: Callable[[str], None], *, subjects: int = 12, seed: int = 0, changes: Sequence[str] = ()
) -> Path:
    """Simulate, prepare, pretrain `per_output` on the three modalities together, probe each; `report.html` of the run.

    What is complete in `out` is kept, so an interrupted demo continues. `say` is called with a line of progress;
    `changes` are `key=value` changes to the pretraining recipe `demo`. Returns the page.
    """
    tell = timed(say)
    config = find_config("demo").replaced([f"seed={seed}", *changes], "demo")

    tell(f"simulating {subjects} subjects with EEG, MEG and fMRI in {out / 'cohort'}")
    # short windows, so that a batch affords all electrodes; magnetometers alone are a third of the data
    parameters = CohortParameters(subjects=subjects, seed=seed, meg="neuromag102", eeg_epoch=2.0)
    cohort = write(parameters, out / "cohort")
    tell("preparing: raw files -> windows -> corpus")
    recipes = {modality: cohort / f"recipe_{modality}.yaml" for modality in MODALITIES}
    for recipe in recipes.values():
        tell(prepare(recipe, cohort, out / "corpus").text().splitlines()[0])
    tell(f"pretraining `per_output` on all three modalities together, {config.steps} steps")
    run = pretrain(config, out / "corpus", out / "run")
    tell("probing frozen features, beside random weights, classical baselines and a permutation null")
    tasks: dict[str, dict[str, Any]] = {
        f"rest_vs_task_{modality}": {"recipe": f"{recipe}/rest_vs_task", "n_splits": 4, "repeats": 1, "equal": False}
        for modality, recipe in recipes.items()
    }
    # blocks lift and lower the regional signal itself, which the waveform and the mean of each region hold
    fair = ["amplitude", "block means", "functional connectivity"]
    tasks["rest_vs_task_fmri"] |= {"pool": "concat@waveform", "baselines": fair}
    about = {"name": "demo", "version": "1.0", "title": "Rest or task", "random_weights": 1, "permutations": 100}
    suite = Suite.parse({**about, "tasks": tasks})
    evaluate(suite, run, run / "evaluation", root=out / "corpus", accept=["overlap"], say=tell)
    explained, begun = run / "explained", run / "explained.part"
    if not explained.exists():
        tell("putting hidden patches back, beside random weights")
        maps = explain(run, Corpus(out / "corpus"), what=["reconstruction"], n_untrained=1)
        write_explanations(maps, begun, model=str(run))
        begun.rename(explained)
    page = report([run], out / "report.html", title="Brain-OF demo")
    tell(f"done: {page}")
    return page
