"""Every public function and command that takes a path refuses what no file system takes, in one named line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import brainof
from brainof.adaptation.saving import read_adapter
from brainof.cli import main
from brainof.corpus import Corpus, CorpusWriter
from brainof.corpus.copying import merge
from brainof.datasets import find_recipe, prepare
from brainof.datasets.discover import discover
from brainof.errors import BrainOFError, ConfigError
from brainof.estimators import BrainOFClassifier
from brainof.evaluation.folds import read_splits
from brainof.io.bids import index
from brainof.io.labels import read_labels
from brainof.paths import user_path
from brainof.pretraining import PretrainConfig, find_config, pretrain, tune
from brainof.report import report
from brainof.schema import read_yaml
from brainof.simulate.parameters import CohortParameters
from brainof.simulate.write import write
from brainof.utils.files import read_json, write_json

WRONG = {
    "NUL": ("a\0b", "holds a NUL byte"),
    "deep": ("x/" * 2000, "folders in each other"),
    "long": ("x" * 5000, "the file name is too long"),
    "no user": ("~nobody99/x", "home directory"),
}
SMALL = PretrainConfig.parse({"model": {"preset": "debug"}, "steps": 1})
CALLS = {
    "read": brainof.read,
    "embed": lambda path: brainof.embed(path, "debug", contract=None),
    "load": brainof.load,
    "Corpus": lambda path: Corpus(path).index,
    "CorpusWriter": CorpusWriter,
    "merge": lambda path: merge([], path),
    "prepare, root": lambda path: prepare(find_recipe("eegmat"), path, "corpus"),
    "discover": lambda path: discover(find_recipe("eegmat"), path),
    "pretrain, corpus": lambda path: pretrain(SMALL, path, "run"),
    "pretrain, out": lambda path: pretrain(SMALL, "corpus", path),
    "find_config": find_config,
    "tune": lambda path: tune.tune(SMALL, [], path),
    "evaluate, out": lambda path: brainof.evaluate("real-small", "debug", path),
    "evaluate, root": lambda path: brainof.evaluate("real-small", "debug", "out", root=path),
    "evaluate, suite": lambda path: brainof.evaluate(f"{path}/s.yaml", "debug", "out"),
    "simulate": lambda path: write(CohortParameters(subjects=1), path),
    "report": lambda path: report([path], "page.html"),
    "classifier": BrainOFClassifier.load,
    "adapter": read_adapter,
    "splits": read_splits,
    "index": index,
    "labels": read_labels,
    "yaml": read_yaml,
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", CALLS)
def test_a_path_that_cannot_be_is_named(tmp_path, monkeypatch, name, wrong):
    monkeypatch.chdir(tmp_path)
    path, message = WRONG[wrong]
    with pytest.raises(BrainOFError) as raised:
        CALLS[name](path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("wrong", ["deep", "long", "no user"])
@pytest.mark.parametrize(
    "words",
    [
        ["info", "PATH"],
        ["embed", "rest.edf", "--model", "PATH", "--out", "o.npz"],
        ["index", "PATH"],
        ["corpus", "info", "PATH"],
        ["simulate", "--subjects", "1", "--out", "PATH"],
        ["pretrain", "tiny", "--corpus", "PATH", "--out", "run"],
        ["pretrain", "tiny", "--corpus", "corpus", "--out", "PATH"],
        ["evaluate", "real-small", "--model", "debug", "--out", "PATH"],
        ["adapt", "PATH", "--model", "debug", "--out", "run"],
        ["report", "PATH", "--out", "page.html"],
    ],
    ids=" ".join,
)
def test_the_command_says_it_in_one_line(tmp_path, monkeypatch, capsys, words, wrong):
    monkeypatch.chdir(tmp_path)
    path, message = WRONG[wrong]
    assert main([path if word == "PATH" else word for word in words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert len(said) < 400


def test_home_is_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/x") == tmp_path / "x"
    CorpusWriter("~/corpus").close()
    assert Corpus("~/corpus").root == tmp_path / "corpus"
    assert (tmp_path / "corpus" / "corpus.json").is_file()


def test_limits_are_those_of_file_systems(tmp_path):
    assert user_path("x" * 255) == Path("x" * 255)
    with pytest.raises(ConfigError, match="too long"):
        user_path("é" * 128)  # 256 bytes
    assert len(user_path("x/" * 256).parts) == 256
    with pytest.raises(ConfigError, match="257 folders"):
        user_path("x/" * 257)
    with pytest.raises(ConfigError, match="too long"):
        user_path("/".join(["x" * 200] * 21))
    with pytest.raises(ConfigError, match=r"'\\ud800x': is not the name of a file"):
        user_path("\ud800x")


@pytest.mark.skipif(os.name != "posix", reason="names of bytes")
def test_a_folder_whose_name_is_no_utf8_is_worked_in(tmp_path, capsys):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    CorpusWriter(root / "corpus").close()
    Corpus(root / "corpus").compact()
    assert len(Corpus(root / "corpus").index) == 0
    assert main(["corpus", "verify", str(root / "corpus")]) == 0
    assert r"caf\udce9/corpus: 0 windows" in capsys.readouterr().out
    write_json(root / "about.json", {"folder": str(root)})
    assert read_json(root / "about.json") == {"folder": str(root)}
