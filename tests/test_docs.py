"""The commands and the Python of README.md, docs/start.md and docs/guide are run as they stand, on small made data.

Every fenced block of a page runs, in order, in one folder and one namespace. A block below the line
`<!-- not run: REASON -->` does not. `SMALLER` and `REPLACED` name what is added to a command, and what stands for what
only a user has.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import edfio
import mne
import numpy as np
import pytest
import torch
import yaml
from benchmarks.__main__ import BENCHMARKS

import brainof
from brainof.channels import Channels
from brainof.cli import main
from brainof.corpus import CorpusWriter
from brainof.datasets.recipe import Recipe
from brainof.prepare import Window, default_chain
from brainof.pretraining.recipes import find_config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "docs" / "start.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
NAMES = ["Fp1", "Fp2", "C3", "C4", "Cz", "O1", "O2"]

#: command -> what is added to it here
SMALLER = {
    "brainof pretrain": "steps=4 batch_size=8 health_margin=0 model.dim=48 model.backbone.depth=1",
    "brainof adapt": "adaptation.epochs=1",
}
#: what only a user has, or what takes long -> what stands for it here
REPLACED = {
    '"my-lab/brain-of-small"': '"runs/first"',
    "max_epochs=20": "max_epochs=1",
    '"subjects": 12': '"subjects": 1',
    "GroupKFold(5)": "GroupKFold(2)",
}


class Block(NamedTuple):
    line: int
    language: str
    text: str
    why_not: str | None


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    fence = re.compile(
        r"(?:<!-- not run: (?P<why>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
    )
    text = page.read_text()
    for found in fence.finditer(text):
        line = text[: found.start("text")].count("\n") + 1
        yield Block(line, found["language"], found["text"], found["why"])


def edf(path: Path, seed: int, seconds: int = 24, sfreq: int = 128) -> Path:
    data = np.random.default_rng(seed).normal(0, 20, (len(NAMES), seconds * sfreq))
    path.parent.mkdir(parents=True, exist_ok=True)
    signals = [
        edfio.EdfSignal(row, sfreq, label=f"EEG {name}", physical_dimension="uV", physical_range=(-200, 200))
        for name, row in zip(NAMES, data, strict=True)
    ]
    edfio.Edf(signals).write(path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first page takes as given: a file, a BIDS folder, a downloaded dataset."""
    root = tmp_path_factory.mktemp("docs")
    edf(root / "my.edf", 99)
    shutil.copy(root / "my.edf", root / "rest.edf")
    bids = root / "bids_folder"
    edf(bids / "sub-01" / "eeg" / "sub-01_task-rest_eeg.edf", 0)
    (bids / "dataset_description.json").write_text('{"Name": "made", "BIDSVersion": "1.9.0"}')
    rows = ["Subject,Age,Gender,Count quality"]
    for subject in range(6):
        for run in (1, 2):
            edf(root / "data" / "eegmat" / "edf" / f"Subject{subject:02d}_{run}.edf", 2 * subject + run)
        rows.append(f"Subject{subject:02d},2{subject},{'FM'[subject % 2]},1")
    (root / "data" / "eegmat" / "subject-info.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def first_page(made: Path) -> Path:
    """The folder after the commands of README.md: a corpus and a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        for block in blocks(PAGES[0]):
            if block.language == "sh":
                run_commands(block.text)
    return made


def run_commands(text: str) -> None:
    for line in filter(None, map(str.strip, text.splitlines())):
        words = shlex.split(line, comments=True)
        if words[0] == "./run":
            assert re.search(rf"^  {words[1]}\)", (ROOT / "run").read_text(), re.M), f"run has no command {words[1]}"
            continue
        assert words[0] == "brainof", line
        command = " ".join(words[:2])
        assert main([*words[1:], *SMALLER.get(command, "").split()]) == 0, line


def epochs(n: int = 16) -> mne.BaseEpochs:
    """Standing for "my-epo.fif": two classes that differ in an alpha rhythm, 4 s each."""
    info = mne.create_info(NAMES, 128.0, "eeg")
    data = np.random.default_rng(0).normal(0, 2e-5, (len(NAMES), n, 512))
    data[:, ::2] += 4e-5 * np.sin(2 * np.pi * 10 * np.arange(512) / 128)
    raw = mne.io.RawArray(data.reshape(len(NAMES), -1), info, verbose=False).set_montage("colin27_1020")
    events = np.c_[np.arange(n) * 512, np.zeros(n, int), np.arange(n) % 2]
    return mne.Epochs(raw, events, tmin=0, tmax=511 / 128, baseline=None, preload=True, verbose=False)


def add_pairs(folder: Path) -> None:
    """A corpus of EEG and fMRI of the same people, as the simulation writes it."""
    rng = np.random.default_rng(0)
    shutil.rmtree(folder / "corpus", ignore_errors=True)
    with CorpusWriter(folder / "corpus") as writer:
        for modality, kind, sfreq, n_times in (("eeg", "eeg", 256.0, 256), ("fmri", "roi", 0.5, 64)):
            order = np.arange(4) if modality == "fmri" else None
            names = tuple(f"{kind}{i}" for i in range(4))
            channels = Channels(names, (kind,) * 4, rng.uniform(-0.1, 0.1, (4, 3)), order=order, frame="head")
            writer.add_dataset(f"simulated_{modality}", {"steps": default_chain(modality).to_steps()})
            for subject in range(4):
                row = {"dataset": f"simulated_{modality}", "modality": modality, "subject": str(subject)}
                row |= {"sfreq": sfreq, "recording": f"{modality}{subject}", "config": f"{modality}{subject}"}
                data = rng.standard_normal((5, 4, n_times)).astype(np.float32)
                windows = [Window(values, 130.0 * k, {}, "rest_vs_task") for k, values in enumerate(data)]
                writer.add(row, channels, windows)


def of_fusion(folder: Path) -> dict[str, Any]:
    add_pairs(folder)
    recording = brainof.read("my.edf").replace(bads=("EEG C3",))
    channels = Channels(("Pz",), ("eeg",), np.array([[0.0, -0.06, 0.1]]), frame="head")
    model = brainof.BrainOF.from_preset("debug")
    lost = torch.tensor([True] + [False] * 15)
    return {"model": model, "lost": lost, "contract": None, "recording": recording, "channels": channels}


def of_interop(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    model, contract = brainof.load("runs/first")
    recording = brainof.read("my.edf")
    nibabel, maskers = pytest.importorskip("nibabel"), pytest.importorskip("nilearn.maskers")
    atlas = nibabel.Nifti1Image(np.arange(64).reshape(4, 4, 4).astype(np.int16) % 5, np.eye(4) * 3)
    bold = nibabel.Nifti1Image(rng.normal(100, 1, (4, 4, 4, 40)).astype(np.float32), np.eye(4) * 3)
    return {
        "brainof": brainof,
        "epochs": epochs(),
        "labels": np.arange(16) % 2,
        "masker": maskers.NiftiLabelsMasker(atlas),
        "bold": bold,
        "eeg_embeddings": brainof.embed("my.edf", "runs/first"),
        "frame_times": np.arange(0, 24, 2.0),
        "model": model,
        "contract": contract,
        "first_minutes": recording,
        "source": np.array_split(recording.data, 6, axis=1),
    }


def of_sharing(folder: Path) -> dict[str, Any]:
    shutil.copytree("runs/first", "runs/real", dirs_exist_ok=True)
    Path("runs/real/evaluation").mkdir(exist_ok=True)
    Path("runs/real/evaluation/summary.csv").write_text("task,entry,kind,score\nt,real,model,0.7\n")
    return {}


def of_using(folder: Path) -> dict[str, Any]:
    epochs().save("my-epo.fif", overwrite=True, verbose=False)
    return {"labels": np.arange(16) % 2, "people": np.arange(16) // 4}


#: page -> what it takes as given
GIVEN: dict[str, Callable[[Path], dict[str, Any]]] = {
    "README.md": lambda folder: {"epochs": epochs(), "y": np.arange(16) % 2},
    "explain.md": lambda folder: {"epochs": epochs(), "labels": np.arange(16) % 2, "subjects": np.arange(16) // 4},
    "fusion.md": of_fusion,
    "interop.md": of_interop,
    "sharing.md": of_sharing,
    "using.md": of_using,
}


#: page -> files that are there at its end
MADE = {"start.md": ("my.parquet", "signal.png", "embedding.png")}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page))], ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page, first_page, tmp_path, monkeypatch):
    folder = tmp_path / "page"
    shutil.copytree(first_page, folder)
    monkeypatch.chdir(folder)
    namespace: dict[str, Any] = GIVEN.get(page.name, lambda folder: {})(folder)
    for block in blocks(page):
        if block.why_not is not None:
            continue
        text = block.text
        for old, new in REPLACED.items():
            text = text.replace(old, new)
        if block.language == "sh":
            if page != PAGES[0]:  # those of the first page have made the folder
                run_commands(text)
        elif block.language == "yaml" and (named := re.match(r"# (\S+\.yaml)\n", text)):
            (folder / named[1]).write_text(text)
        elif block.language == "yaml" and text.startswith("like:"):  # a pretraining recipe
            (folder / "like.yaml").write_text(text)
            find_config(folder / "like.yaml")
        elif block.language == "yaml":
            Recipe.parse(yaml.safe_load(text), page)
        else:
            assert block.language == "python", f"{page.name}:{block.line}: {block.language}"
            exec(compile("\n" * (block.line - 1) + text, str(page), "exec"), namespace)
    assert [name for name in MADE.get(page.name, ()) if not (folder / name).is_file()] == []


def test_studies_and_benchmarks_that_pages_name_exist():
    studies = {path.stem for path in (ROOT / "studies").glob("*.py")}
    known = {
        "study": studies | set(yaml.safe_load((ROOT / "studies" / "arms.yaml").read_text())),
        "bench": set(BENCHMARKS),
    }
    named = [
        (page.name, kind, name)
        for page in [*PAGES, *(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md"]
        for kind, name in re.findall(r"\./run (study|bench) ([a-z]\w*)", page.read_text())
    ]
    assert named
    assert not [each for each in named if each[2] not in known[each[1]]]
