from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from brainof.corpus import Corpus, CorpusWriter
from brainof.errors import CorpusError, StorageError

fork = multiprocessing.get_context("fork")


def test_what_is_written_is_read_as_float16(tmp_path, make):
    windows = make.windows(3, n=6)
    with CorpusWriter(tmp_path / "c") as writer:
        writer.add(make.recording("p1_rest", session="a"), make.channels(5), windows, np.arange(5) != 2)
    corpus = Corpus(tmp_path / "c")
    for row, window in enumerate(windows):
        np.testing.assert_array_equal(corpus.read(row), window.data.astype(np.float16))  # numpy rounds as torch does
    row = corpus.index.iloc[3]
    assert (row["good"], row["session"], row["view"], row["onset"]) == ("11011", "a", "pretrain", 1.5)
    assert row["label.state"] == "s1"
    assert corpus.index["run"].isna().all()
    assert corpus.channels(row["channel_set"]).digest == make.channels(5).digest


@pytest.mark.parametrize("dtype", [np.float64, np.float32, ">f4", np.float16])
def test_any_float_type_is_taken(tmp_path, make, dtype):
    data = make.windows(0)[0].data.astype(dtype)
    data.flags.writeable = False
    with CorpusWriter(tmp_path / "c") as writer:
        writer.add(make.recording("p1_rest"), make.channels(5), [make.Window(data)])
    np.testing.assert_array_equal(Corpus(tmp_path / "c").read(0), data.astype(np.float16))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x: x * np.where(np.arange(x.size).reshape(x.shape) == 7, np.nan, 1), "not finite"),
        (lambda x: x - np.where(np.arange(x.size).reshape(x.shape) == 7, np.inf, 0), "not finite"),
        (lambda x: x + np.where(np.arange(x.size).reshape(x.shape) == 7, -70_000, 0), "float16 ends at 65504"),
        (lambda x: x * 1e-5, "normalised data only"),  # volts
        (lambda x: x * 1e-13, "normalised data only"),  # teslas
        (lambda x: x * 50 + 9_000, "normalised data only"),  # raw BOLD
        (lambda x: x * 0, "normalised data only"),
        (lambda x: x[:4], "shape"),
        (lambda x: x[:, :0], "shape"),
        (lambda x: x[0], "shape"),
    ],
)
def test_what_float16_cannot_hold_is_refused_and_nothing_kept(tmp_path, make, spoil, words):
    writer = CorpusWriter(tmp_path / "c")
    good, bad = make.windows(0, n=2)
    windows = [make.Window(spoil(good.data)), make.Window(spoil(bad.data))]
    with pytest.raises(CorpusError, match=rf"p1_rest: .*{words}"):
        writer.add(make.recording("p1_rest"), make.channels(5), windows)
    writer.close()
    assert len(Corpus(tmp_path / "c")) == 0


def test_a_flat_bad_channel_does_not_count_as_flat_data(tmp_path, make):
    good = np.array([True, True, False, False, False])
    windows = [make.Window(window.data * good[:, None]) for window in make.windows(0)]
    with CorpusWriter(tmp_path / "c") as writer:
        writer.add(make.recording("p1_rest"), make.channels(5), windows, good)


def test_other_calls_that_cannot_be_right(tmp_path, make):
    with CorpusWriter(tmp_path / "c") as writer:
        writer.add(make.recording("p1_rest"), make.channels(5), make.windows(0))
        with pytest.raises(CorpusError, match="was added before"):
            writer.add(make.recording("p1_rest"), make.channels(5), make.windows(1))
        with pytest.raises(CorpusError, match="p2_rest: has no windows"):
            writer.add(make.recording("p2_rest"), make.channels(5), [])
        with pytest.raises(CorpusError, match="view"):
            writer.add(make.recording("p2_rest"), make.channels(5), [make.Window(make.windows(0)[0].data, view="")])
        with pytest.raises(CorpusError, match="good"):
            writer.add(make.recording("p2_rest"), make.channels(5), make.windows(0), np.ones(4, bool))
        with pytest.raises(CorpusError, match="dataset"):
            writer.add_dataset("a/b", {})
    assert len(Corpus(tmp_path / "c")) == 4


def test_a_recording_is_in_one_shard_and_a_shard_of_one_dataset(tmp_path, make):
    with CorpusWriter(tmp_path / "c", shard_bytes=10_000) as writer:
        for i in range(12):
            dataset = "ab"[i // 6]
            writer.add(make.recording(f"p{i}", dataset), make.channels(5), make.windows(i, n=1 + 3 * (i % 4)))
    index = Corpus(tmp_path / "c").index
    assert index.groupby("recording", observed=True)["shard"].nunique().max() == 1
    assert index.groupby("shard", observed=True)["dataset"].nunique().max() == 1
    sizes = index.groupby("shard", observed=True).size() * 1000
    assert len(sizes) >= 6  # a new shard begins before 10 kB are passed, unless one recording is larger
    assert sizes.max() <= 10_000


def test_done_is_judged_from_the_disk(tmp_path, make):
    with CorpusWriter(tmp_path / "c") as writer:
        writer.add(make.recording("p1_rest"), make.channels(5), make.windows(0))
        assert not writer.done("config-p1_rest")
        writer.flush()
        assert writer.done("config-p1_rest")
    assert CorpusWriter(tmp_path / "c").done("config-p1_rest")
    assert not CorpusWriter(tmp_path / "c").done("config-p2_rest")


def test_failures_are_kept_until_the_recording_is_committed(tmp_path, make):
    root = tmp_path / "c"
    with CorpusWriter(root) as writer:
        writer.record_failure(make.recording("sub-1/p1_rest.edf"), "empty")
        writer.record_failure(make.recording("../p1"), "unreadable")
    assert [failure["reason"] for failure in Corpus(root).failures] == ["unreadable", "empty"]
    assert all(path.parent == root / "failures" for path in root.rglob("*p1*.json"))
    with CorpusWriter(root) as writer:
        writer.add(make.recording("sub-1/p1_rest.edf"), make.channels(5), make.windows(0))
    assert [failure["recording"] for failure in Corpus(root).failures] == ["../p1"]


def test_an_error_in_one_recording_does_not_lose_the_others(tmp_path, make):
    def prepare():
        with CorpusWriter(tmp_path / "c") as writer:
            writer.add(make.recording("p1_rest"), make.channels(5), make.windows(0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        prepare()
    assert len(Corpus(tmp_path / "c")) == 4


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(CorpusError, match=r"thesis\.tex"):
        CorpusWriter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(("content", "word"), [({"format": "brainof-corpus", "version": 3}, "version 3"), ({}, "None")])
def test_another_version_is_refused(tmp_path, content, word):
    (tmp_path / "corpus.json").write_text(json.dumps(content))
    for opener in (Corpus, CorpusWriter):
        with pytest.raises(CorpusError, match=rf"corpus\.json: .*{word}"):
            opener(tmp_path)


def _in_child(function, *arguments) -> int:
    """Run in a forked process; the exit code tells what happened (77 is any other error)."""

    def body() -> None:
        try:
            function(*arguments)
            code = 0
        except StorageError as error:
            code = error.exit_code
        except BaseException:
            code = 77
        os._exit(code)

    child = fork.Process(target=body)
    child.start()
    child.join(30)
    return child.exitcode


def _write_beyond_limit(root: Path, make) -> None:
    with CorpusWriter(root, shard_bytes=20_000) as writer:
        for i in range(4):
            writer.add(make.recording(f"p{i}"), make.channels(5), make.windows(i, n=10))
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))
        writer.add(make.recording("p4"), make.channels(5), make.windows(4, n=10))


def test_a_full_disk_is_a_storage_error_and_leaves_what_was_committed(tmp_path, make):
    assert _in_child(_write_beyond_limit, tmp_path / "c", make) == 3
    corpus = Corpus(tmp_path / "c")
    assert sorted(corpus.index["recording"].unique()) == ["p0", "p1"]
    assert not list((tmp_path / "c").rglob("*.tmp"))
    assert corpus.verify().problems == []


def test_a_flush_that_failed_can_be_repeated(tmp_path, make, monkeypatch):
    writer = CorpusWriter(tmp_path / "c")
    writer.add(make.recording("p1"), make.channels(5), make.windows(0))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(StorageError, match=r"safetensors: .*No space left.*needs 0\.0 MB, .* free"):
            writer.flush()
    assert not list((tmp_path / "c" / "shards").iterdir())
    writer.flush()
    assert len(Corpus(tmp_path / "c")) == 4


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write")
def test_a_folder_that_cannot_be_written_is_named():
    with pytest.raises(StorageError, match=r"/proc/corpus: cannot be written"):
        CorpusWriter("/proc/corpus")


def _write_for_ever(root: Path, make, pipe) -> None:
    with CorpusWriter(root, shard_bytes=300_000) as writer:
        for i in range(100_000):
            writer.add(make.recording(f"p{i:05d}"), make.channels(20), make.windows(i, 5, 20, 500))
            if i % 3 == 2:
                writer.flush()
                pipe.send(i)


@pytest.mark.parametrize("seed", range(20))
def test_a_killed_writer_loses_nothing_that_it_reported(tmp_path, make, seed):
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=_write_for_ever, args=(tmp_path / "c", make, sender))
    child.start()
    assert receiver.poll(20)
    time.sleep(random.Random(seed).uniform(0, 0.1))
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    reported = -1
    while receiver.poll():
        reported = receiver.recv()

    corpus = Corpus(tmp_path / "c")
    count = Counter(corpus.index["recording"])
    assert set(count.values()) == {5}  # whole or not at all
    assert set(count) == {f"p{i:05d}" for i in range(len(count))}
    assert reported + 1 <= len(count) <= reported + 4
    for i in range(len(count)):
        for row, window in enumerate(make.windows(i, 5, 20, 500), start=5 * i):
            np.testing.assert_array_equal(corpus.read(row), window.data.astype(np.float16))

    # the index that a kill may have left out is the same when it is read from the headers
    for path in (tmp_path / "c" / "shards").glob("*.parquet"):
        path.unlink()
    rebuilt = Corpus(tmp_path / "c")
    assert rebuilt.index.astype(str).equals(corpus.index.astype(str))
    assert len(rebuilt.notes) == rebuilt.index["shard"].nunique()


def _write_part(root: Path, make, part: int, barrier) -> None:
    barrier.wait(10)
    with CorpusWriter(root, shard_bytes=20_000) as writer:
        writer.add_dataset("demo", {"license": "CC0"})
        for i in range(part, 40, 2):
            writer.add(make.recording(f"p{i:02d}"), make.channels(5), make.windows(i))


def test_two_writers_at_once_lose_nothing(tmp_path, make):
    barrier = fork.Barrier(2)
    children = [fork.Process(target=_write_part, args=(tmp_path / "c", make, i, barrier)) for i in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0, 0]
    corpus = Corpus(tmp_path / "c")
    assert corpus.index["recording"].tolist() == [f"p{i:02d}" for i in range(40) for _ in range(4)]
    for i in range(40):
        np.testing.assert_array_equal(corpus.read(4 * i), make.windows(i)[0].data.astype(np.float16))
    assert corpus.datasets == {"demo": {"license": "CC0"}}


def test_a_recording_prepared_again_replaces_the_old_one(tmp_path, make):
    for seed in (1, 2):
        with CorpusWriter(tmp_path / "c") as writer:
            recording = make.recording("p1_rest", config=f"recipe-{seed}")
            writer.add(recording, make.channels(5), make.windows(seed))
    corpus = Corpus(tmp_path / "c")
    assert set(corpus.index["config"]) == {"recipe-2"}
    np.testing.assert_array_equal(corpus.read(0), make.windows(2)[0].data.astype(np.float16))
    assert corpus.notes == ["demo/p1_rest occurs more than once; its newest windows count"]
    assert not CorpusWriter(tmp_path / "c").done("recipe-1")


def test_a_clock_that_is_ahead_hides_nothing_that_is_written_later(tmp_path, make, monkeypatch):
    from brainof.corpus import writer as module

    class Ahead(module.datetime):
        @classmethod
        def now(cls, zone=None):
            return super().now(zone) + module.timedelta(days=300)

    with monkeypatch.context() as patched, CorpusWriter(tmp_path / "c") as writer:
        patched.setattr(module, "datetime", Ahead)
        writer.add(make.recording("p1_rest"), make.channels(5), make.windows(1))
        writer.flush()
    for seed in (2, 3):  # the second by a writer that finds both
        with CorpusWriter(tmp_path / "c") as writer:
            writer.add(make.recording("p1_rest"), make.channels(5), make.windows(seed))
        np.testing.assert_array_equal(Corpus(tmp_path / "c").read(0), make.windows(seed)[0].data.astype(np.float16))


#: Of a writer beside two readers; a minute: BRAINOF_READERS_SECONDS=60 ./run test tests/corpus -k readers
SECONDS = float(os.environ.get("BRAINOF_READERS_SECONDS", "4"))


def _append(root: Path, make, until: float) -> None:
    i = 0
    with CorpusWriter(root) as writer:
        while time.monotonic() < until:
            writer.add(make.recording(f"p{i:04d}"), make.channels(5), make.windows(i))
            writer.flush()
            if i % 7 == 6:
                Corpus(root).compact()
            i += 1


def _read(root: Path, make, until: float) -> None:
    seen, random = 0, np.random.default_rng(os.getpid())
    while time.monotonic() < until:
        corpus = Corpus(root)
        index = corpus.index
        assert index["recording"].tolist() == [f"p{i:04d}" for i in range(len(index) // 4) for _ in range(4)]
        assert len(index) >= seen  # nothing that was there goes away
        seen = len(index)
        for row in random.integers(0, seen, 3).tolist() if seen else ():
            window = make.windows(row // 4)[row % 4].data.astype(np.float16)
            np.testing.assert_array_equal(corpus.read(row), window)
    assert seen > 4


def test_readers_beside_a_writer_see_a_consistent_corpus(tmp_path, make):
    root, until = tmp_path / "c", time.monotonic() + SECONDS
    CorpusWriter(root).close()
    writer = fork.Process(target=_append, args=(root, make, until))
    readers = [fork.Process(target=_read, args=(root, make, until)) for _ in range(2)]
    for child in (writer, *readers):
        child.start()
    for child in (writer, *readers):
        child.join(SECONDS + 30)
    assert [child.exitcode for child in (writer, *readers)] == [0, 0, 0]
    _read(root, make, time.monotonic() + 0.1)
