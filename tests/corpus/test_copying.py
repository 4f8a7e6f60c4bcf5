from __future__ import annotations

import numpy as np
import pytest

from brainof.corpus import Corpus, CorpusWriter
from brainof.corpus.copying import merge, split
from brainof.errors import ConfigError, CorpusError


def _content(corpus: Corpus) -> dict:
    """Every window by what it is, whatever its row number and shard."""
    names = [name for name in corpus.index if name not in ("shard", "key")]
    keys = corpus.index[names].astype(str).itertuples(index=False, name=None)
    return {key: corpus.read(row).tobytes() for row, key in enumerate(keys)}


@pytest.fixture
def other(tmp_path, make):
    with CorpusWriter(tmp_path / "other") as writer:
        writer.add_dataset("second", {"license": "PDDL"})
        writer.add(make.recording("q1", "second", "meg"), make.channels(5, "meg"), make.windows(9))
    return tmp_path / "other"


def test_merged_corpora_hold_all_windows(corpus_root, other, tmp_path):
    done = merge([Corpus(corpus_root), Corpus(other)], tmp_path / "all")
    assert done == {"recordings": 7, "windows": 28, "shards": 4}
    merged = Corpus(tmp_path / "all")
    assert _content(merged) == _content(Corpus(corpus_root)) | _content(Corpus(other))
    assert merged.verify().problems == []
    assert merged.datasets == {"demo": {"license": "CC0"}, "second": {"license": "PDDL"}}
    # and once more, as after an interruption: nothing is doubled
    assert merge([Corpus(corpus_root), Corpus(other)], tmp_path / "all") == done
    for path in (tmp_path / "all" / "shards").glob("*.parquet"):
        path.unlink()
    (tmp_path / "all" / "index.parquet").unlink()
    assert _content(Corpus(tmp_path / "all")) == _content(merged)


def test_of_a_recording_in_both_the_newest_counts(corpus_root, tmp_path, make):
    with CorpusWriter(tmp_path / "newer") as writer:
        writer.add(make.recording("p0_rest", config="again"), make.channels(5), make.windows(77))
    for order in ([corpus_root, tmp_path / "newer"], [tmp_path / "newer", corpus_root]):
        out = tmp_path / f"all-{order[0].name}"
        assert merge([Corpus(root) for root in order], out)["windows"] == 24
        np.testing.assert_array_equal(Corpus(out).read(0), make.windows(77)[0].data.astype(np.float16))


def test_a_damaged_window_is_not_copied(corpus_root, shard_files, tmp_path):
    path = shard_files()[0]
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CorpusError, match=f"{path.name}: p1_rest: window '00007' is damaged"):
        merge([Corpus(corpus_root)], tmp_path / "all")
    assert path.name not in {each.name for each in (tmp_path / "all").rglob("*.safetensors")}


def test_descriptions_that_disagree_are_named(corpus_root, tmp_path, make):
    with CorpusWriter(tmp_path / "b") as writer:
        writer.add_dataset("demo", {"license": "other"})
        writer.add(make.recording("q1"), make.channels(5), make.windows(9))
    with pytest.raises(CorpusError, match=r"datasets/demo\.json: describes the dataset differently"):
        merge([Corpus(corpus_root), Corpus(tmp_path / "b")], tmp_path / "all")
    with pytest.raises(CorpusError, match="itself"):
        merge([Corpus(corpus_root)], corpus_root)


def test_split_by_person_dataset_and_modality(corpus_root, other, tmp_path):
    merge([Corpus(corpus_root), Corpus(other)], tmp_path / "all")
    corpus = Corpus(tmp_path / "all")
    assert split(corpus, tmp_path / "people", fraction=0.34) == {"train": 20, "validation": 8}
    train, validation = (Corpus(tmp_path / "people" / name) for name in ("train", "validation"))
    assert not set(train.index["subject"]) & set(validation.index["subject"])
    assert _content(train) | _content(validation) == _content(corpus)
    assert validation.verify().problems == []
    assert split(corpus, tmp_path / "sets", "dataset") == {"demo": 24, "second": 4}
    assert split(corpus, tmp_path / "kinds", "modality") == {"eeg": 24, "meg": 4}
    assert Corpus(tmp_path / "kinds" / "meg").datasets == {"second": {"license": "PDDL"}}
    with pytest.raises(ConfigError, match="by: 'sex'"):
        split(corpus, tmp_path / "x", "sex")


def test_deleted_windows_stay_away(corpus_root, tmp_path, make):
    corpus = Corpus(corpus_root)
    done = corpus.delete(recordings=["demo/p0_rest"], subjects=["demo/p3"])
    assert done == {"recordings": 2, "deleted": 8, "windows": 16, "before": []}
    for changed in ("as deleted", "without the merged index", "rebuilt from headers"):
        if changed != "as deleted":
            (corpus_root / "index.parquet").unlink(missing_ok=True)
        if changed == "rebuilt from headers":
            for path in (corpus_root / "shards").glob("*.parquet"):
                path.unlink()
        left = Corpus(corpus_root)
        assert set(left.index["subject"]) == {"p1", "p2", "p4", "p5"}, changed
        np.testing.assert_array_equal(left.read(0), make.windows(1)[0].data.astype(np.float16))
    # prepared again, it is in the corpus again
    with CorpusWriter(corpus_root) as writer:
        writer.add(make.recording("p0_rest"), make.channels(5), make.windows(50))
    assert len(Corpus(corpus_root)) == 20
    assert Corpus(corpus_root).compact()["windows"] == 20
    # and a merge into a new folder leaves the bytes behind
    merge([Corpus(corpus_root)], tmp_path / "clean")
    assert len(Corpus(tmp_path / "clean")) == 20
    assert not (tmp_path / "clean" / "deleted").exists()
    stored = b"".join(path.read_bytes() for path in (tmp_path / "clean" / "shards").glob("*.safetensors"))
    assert make.windows(3)[0].data.astype(np.float16).tobytes() not in stored
    assert make.windows(4)[0].data.astype(np.float16).tobytes() in stored


@pytest.mark.parametrize(
    ("names", "words"),
    [({"subjects": ["demo/p33"]}, "did you mean 'demo/p3'"), ({"datasets": ["dema"]}, "'demo'"), ({}, "nothing")],
)
def test_what_is_not_there_is_not_deleted(corpus_root, names, words):
    with pytest.raises((CorpusError, ConfigError), match=words):
        Corpus(corpus_root).delete(**names)
    assert len(Corpus(corpus_root)) == 24


def test_a_damaged_deletion_is_named_not_ignored(corpus_root):
    Corpus(corpus_root).delete(datasets=["demo"])
    (path,) = (corpus_root / "deleted").iterdir()
    path.write_text("{}")
    with pytest.raises(CorpusError, match=path.name):
        len(Corpus(corpus_root))


def test_a_copy_that_is_killed_can_be_used_as_far_as_it_got(corpus_root, tmp_path, monkeypatch):
    from brainof.corpus import copying

    real, copied = copying.write_shard, []

    def killed(*arguments):
        if copied:
            raise KeyboardInterrupt
        copied.append(real(*arguments))

    monkeypatch.setattr(copying, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        merge([Corpus(corpus_root)], tmp_path / "all")
    part = Corpus(tmp_path / "all")
    assert len(part) == 8
    assert part.batch(range(8)).signal_BCT.shape == (8, 5, 128)
    assert part.datasets == {"demo": {"license": "CC0"}}
    assert part.verify().problems == []
