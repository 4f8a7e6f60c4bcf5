from __future__ import annotations

import os
import time

import pytest

from brainof.corpus import Corpus, CorpusWriter
from brainof.errors import CorpusError


def test_a_whole_corpus_has_no_problems(corpus_root):
    found = Corpus(corpus_root).verify()
    assert (found.shards, found.windows, found.bytes) == (3, 24, 24_000)
    assert found.problems == found.notes == []


def test_verify_lists_every_damage_and_reads_the_rest(corpus_root, shard_files):
    first, second, third = shard_files()
    whole = bytearray(first.read_bytes())
    whole[-1] ^= 1
    whole[-2001] ^= 1
    first.write_bytes(whole)
    second.write_bytes(second.read_bytes()[:-1])
    third.with_suffix(".index.parquet").write_bytes(b"PAR1")
    (corpus_root / "index.parquet").write_bytes(b"")
    next((corpus_root / "channels").iterdir()).write_text("{}")
    (corpus_root / "datasets" / "demo.json").write_text("[")
    problems = Corpus(corpus_root).verify().problems
    for words in (
        f"{first.name}: p1_rest: window '00007' is damaged",
        f"{first.name}: p1_rest: window '00005' is damaged",
        f"{second.name}: shard is cut",
        f"{third.stem}.index.parquet: is damaged",
        "index.parquet: is damaged",
        "channels/",
        "datasets/demo.json: is damaged",
    ):
        assert any(words in problem for problem in problems), words
    assert len(problems) == 7
    assert Corpus(corpus_root).verify().windows == 6


def test_a_shard_that_only_the_merged_index_knows_is_a_problem(corpus_root, shard_files):
    Corpus(corpus_root).compact()
    path = shard_files()[0]
    path.unlink()
    path.with_suffix(".index.parquet").unlink()
    corpus = Corpus(corpus_root)
    assert len(corpus) == 24
    with pytest.raises(CorpusError, match="shard is missing"):
        corpus.read(0)
    assert [path.name in problem for problem in corpus.verify().problems] == [True]
    assert corpus.compact()["forgotten"] == [path.stem]
    assert len(Corpus(corpus_root)) == 16


def test_compact_keeps_row_numbers_and_completes_indexes(corpus_root, shard_files):
    before = Corpus(corpus_root).index.astype(str)
    lost = shard_files()[1].with_suffix(".index.parquet")
    lost.unlink()
    done = Corpus(corpus_root).compact()
    assert (done["shards"], done["windows"], done["written"]) == (3, 24, [shard_files()[1].stem])
    after = Corpus(corpus_root)
    assert after.index.astype(str).equals(before)
    assert after.notes == []
    assert lost.exists()


def test_compact_replaces_a_damaged_merged_index(corpus_root):
    (corpus_root / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match="brainof corpus compact"):
        _ = Corpus(corpus_root).index
    Corpus(corpus_root).compact()
    assert len(Corpus(corpus_root)) == 24


def test_compact_removes_what_dead_writers_left_and_nothing_younger(corpus_root):
    old, young = (corpus_root / "shards" / f".{name}.tmp" for name in ("old", "young"))
    old.touch()
    young.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    assert len(Corpus(corpus_root).verify().notes) == 2
    assert Corpus(corpus_root).compact()["removed"] == [".old.tmp"]
    assert young.exists()


def test_info_counts_by_hand(corpus_root, make, monkeypatch):
    monkeypatch.setattr("brainof.corpus.maintenance.read_speed", lambda corpus: 0.002)  # MB/s
    with CorpusWriter(corpus_root) as writer:
        task = [make.Window(window.data, view="task") for window in make.windows(1, n=3)]
        writer.add(make.recording("p1_task"), make.channels(5), task)
        writer.record_failure(make.recording("p9"), "empty")
    found = Corpus(corpus_root).info()
    assert (found["windows"], found["subjects"], found["shards"], found["version"]) == (27, 6, 4, 2)
    rest, task = found["groups"]
    assert (rest["view"], rest["windows"], rest["recordings"], rest["subjects"]) == ("pretrain", 24, 6, 6)
    assert (rest["n_channels"], rest["n_times"], rest["sfreq"]) == ([5, 5], [100, 100], [256.0])
    assert rest["hours"] == pytest.approx(24 * 100 / 256 / 3600, abs=1e-3)
    assert rest["megabytes"] == pytest.approx(0.024)
    assert (rest["labels"], task["labels"], task["subjects"]) == (["state"], [], 1)
    assert [failure["reason"] for failure in found["failures"]] == ["empty"]
    assert found["disk_megabytes"] > 0.027
    assert (rest["epoch_seconds"], task["epoch_seconds"], found["epoch_seconds"]) == (12.0, 1.5, 13.5)


def test_info_of_an_empty_corpus(tmp_path):
    CorpusWriter(tmp_path / "c").close()
    found = Corpus(tmp_path / "c").info()
    assert (found["windows"], found["subjects"], found["groups"]) == (0, 0, [])


@pytest.mark.parametrize("kind", ["datasets", "deleted", "quality"])
def test_no_flipped_bit_of_a_description_passes(corpus_root, make, kind):
    """Steps of a description become the InputContract of models; what was deleted must not come back."""
    with CorpusWriter(corpus_root) as writer:
        writer.add(make.recording("p7"), make.channels(5), make.windows(7), quality={"kept": 0.5})
    Corpus(corpus_root).delete(subjects=["demo/p3"])
    path = next((corpus_root / kind).iterdir())
    whole = path.read_bytes()

    def content(corpus):
        return corpus.datasets, corpus.quality, corpus.deletions, corpus.index["recording"].tolist()

    truth = content(Corpus(corpus_root))
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            assert content(Corpus(corpus_root)) == truth, place
        except CorpusError as error:
            assert path.name in str(error)  # noqa: PT017
            if place % 10 == 0:
                assert any(path.name in problem for problem in Corpus(corpus_root).verify().problems)


def test_verify_sees_whatever_keeps_a_corpus_from_being_opened(corpus_root):
    Corpus(corpus_root).compact()
    path = corpus_root / "index.parquet"
    whole, refused = path.read_bytes(), 0
    for place in range(5, len(whole), 61):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            _ = Corpus(corpus_root).index
        except CorpusError:
            refused += 1
            assert Corpus(corpus_root).verify().problems, place
    assert refused > 50


def test_descriptions_of_version_1_are_read(corpus_root, make):
    (corpus_root / "corpus.json").write_text('{"format": "brainof-corpus", "version": 1}')
    (corpus_root / "datasets" / "demo.json").write_text('{"license": "CC0"}')
    assert Corpus(corpus_root).datasets == {"demo": {"license": "CC0"}}
    with CorpusWriter(corpus_root) as writer:
        writer.add(make.recording("p6_rest"), make.channels(5), make.windows(6))
    assert len(Corpus(corpus_root)) == 28
    assert Corpus(corpus_root).verify().problems == []


def test_deleting_twice_is_said_and_no_error(corpus_root):
    names = {"subjects": ["demo/p3"], "recordings": ["demo/p0_rest"]}
    assert Corpus(corpus_root).delete(**names)["windows"] == 16
    files = sorted((corpus_root / "deleted").iterdir())
    again = Corpus(corpus_root).delete(**names)
    assert again == {"recordings": 0, "deleted": 0, "windows": 16, "before": ["demo/p0_rest", "demo/p3"]}
    assert sorted((corpus_root / "deleted").iterdir()) == files
    assert Corpus(corpus_root).delete(subjects=["demo/p3", "demo/p4"])["deleted"] == 4
    assert Corpus(corpus_root).delete(datasets=["demo"])["windows"] == 0
    assert Corpus(corpus_root).delete(datasets=["demo"])["before"] == ["demo"]
