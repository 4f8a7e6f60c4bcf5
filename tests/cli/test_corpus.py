from __future__ import annotations

import json

import numpy as np
import pytest

from brainof.channels import Channels
from brainof.cli import main
from brainof.corpus import CorpusWriter


class _Window:
    def __init__(self, data):
        self.data, self.onset, self.labels, self.view = data, 0.0, {}, "pretrain"


@pytest.fixture
def corpus(tmp_path):
    fields = {"dataset": "demo", "modality": "eeg", "subject": "p1", "recording": "p1", "config": "c", "sfreq": 128}
    data = np.random.default_rng(0).standard_normal((3, 2, 64)).astype(np.float32)
    with CorpusWriter(tmp_path / "c") as writer:
        writer.add(fields, Channels(("a", "b"), ("eeg", "eeg")), [_Window(values) for values in data])
        writer.record_failure({"dataset": "demo", "recording": "p2"}, "empty")
    return tmp_path / "c"


def test_info(corpus, capsys):
    assert main(["corpus", "info", str(corpus)]) == 0
    text = capsys.readouterr().out
    assert "3 windows of 1 subject in 1 shard," in text
    words = text.splitlines()[2].split()
    assert words[:8] == ["eeg", "demo", "pretrain", "3", "1", "1", "0.00", "0.0"]
    assert words[-3:] == ["2", "64", "128"]
    assert "failed: p2: empty" in text
    assert main(["corpus", "info", str(corpus), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"][0]["windows"] == 3


def test_verify_says_what_is_wrong_with_exit_code_2(corpus, capsys):
    assert main(["corpus", "verify", str(corpus)]) == 0
    assert "3 windows, 0.0 MB in 1 shard: all as written" in capsys.readouterr().out
    (path,) = (corpus / "shards").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["corpus", "verify", str(corpus)]) == 2
    assert f"{path.name}: shard is cut" in capsys.readouterr().out
    assert main(["corpus", "verify", str(corpus), "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 1


def test_compact(corpus, capsys):
    (index,) = (corpus / "shards").glob("*.parquet")
    index.unlink()
    assert main(["corpus", "compact", str(corpus)]) == 0
    text = capsys.readouterr().out
    assert "3 windows of 1 shard in one index" in text
    assert "its index was missing and is written" in text
    assert (corpus / "index.parquet").exists()


def test_merge_split_delete_export(corpus, tmp_path, capsys):
    def done(*words: str) -> str:
        assert main(["corpus", *words]) == 0
        return capsys.readouterr().out

    merged = str(tmp_path / "m")
    assert "3 windows of 1 recording in 1 shard" in done("merge", str(corpus), "--out", merged)
    assert json.loads(done("split", merged, "--out", str(tmp_path / "s"), "--by", "modality", "--json")) == {"eeg": 3}
    assert "deleted 3 windows of 1 recording; 0 left" in done("delete", merged, "--subject", "demo/p1")
    again = done("delete", merged, "--subject", "demo/p1")  # exit code 0: a script may be run twice
    assert "demo/p1 was deleted before" in again
    assert "deleted 0 windows of 0 recordings" in again
    pytest.importorskip("zarr")
    text = done("export", str(corpus), "--to", "braindecode-zarr", "--out", str(tmp_path / "z"))
    assert "demo-eeg-pretrain.zarr: 3 windows of 1 recording" in text


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["delete"], "nothing to delete"),
        (["split", "--out", "x", "--by", "age"], "by: 'age'"),
        (["export", "--out", "x", "--to", "braindecod-zarr"], "did you mean 'braindecode-zarr'"),
    ],
)
def test_words_that_do_not_fit_are_one_line(corpus, tmp_path, monkeypatch, capsys, words, error):
    monkeypatch.chdir(tmp_path)
    action, *rest = words
    assert main(["corpus", action, str(corpus), *rest]) == 2
    text = capsys.readouterr().err
    assert error in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("action", ["info", "verify", "compact"])
def test_what_is_not_a_corpus_is_one_line(tmp_path, capsys, action):
    assert main(["corpus", action, str(tmp_path / "missing")]) == 2
    assert capsys.readouterr().err == f"brainof: {tmp_path / 'missing'}: no such corpus\n"
    (tmp_path / "corpus.json").write_text('{"format": "brainof-corpus", "version": 9}')
    assert main(["corpus", action, str(tmp_path)]) == 2
    assert "corpus of version 9" in capsys.readouterr().err
