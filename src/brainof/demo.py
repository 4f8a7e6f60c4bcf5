"""The demo: a simulated tri-modal cohort from raw files to one page, in minutes on two cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .channels import MODALITIES
from .corpus import Corpus
from .datasets import prepare
from .evaluation import save_rows
from .evaluation.task import choose_tasks, evaluate_run
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
    for modality in MODALITIES:
        tell(prepare(cohort / f"recipe_{modality}.yaml", cohort, out / "corpus").text().splitlines()[0])
    tell(f"pretraining `per_output` on all three modalities together, {config.steps} steps")
    run = pretrain(config, out / "corpus", out / "run")
    tell("probing frozen features, beside an untrained model, classical baselines and a permutation null")
    corpus = Corpus(out / "corpus")
    tasks = choose_tasks(corpus, [f"simulated_{modality}/rest_vs_task" for modality in MODALITIES], repeats=1)
    # blocks lift and lower the regional signal itself, which the waveform and the mean of each region hold
    tasks[-1] = tasks[-1].model_copy(update={"baselines": ["amplitude", "block means", "functional connectivity"]})
    pooled = [(task, "concat@waveform" if "fmri" in task.name else "auto") for task in tasks]
    rows = evaluate_run(corpus, run, pooled, untrained=1, n_permutations=100)
    save_rows(rows, run / "scores.json")
    tell("putting hidden patches back, beside random weights")
    write_explanations(explain(run, corpus, what=["reconstruction"], n_untrained=1), run / "explained", model=str(run))
    page = report([run], out / "report.html", title="Brain-OF demo")
    tell(f"done: {page}")
    return page
