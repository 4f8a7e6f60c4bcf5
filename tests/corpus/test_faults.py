"""Disks that are full or read-only, for real where this machine may mount one and pretended where not."""

from __future__ import annotations

import errno
import subprocess

import numpy as np
import pytest

from brainof.corpus import Corpus, CorpusWriter
from brainof.corpus.copying import merge
from brainof.corpus.export import export
from brainof.errors import StorageError
from brainof.utils import files


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 600 kB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine mounts no disk for a test")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def _remount(path, how: str) -> None:
    if subprocess.run(["mount", "-o", f"remount,{how}", str(path)], capture_output=True).returncode:
        pytest.skip("this machine mounts no read-only disk for a test")


def _one_line(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.exit_code == 3
    return text


def test_a_disk_that_fills_up_keeps_what_was_committed(small_disk, make):
    root = small_disk / "c"
    with (
        pytest.raises(
            StorageError, match=r"shards/demo-.*safetensors: cannot be written .*needs .* MB, .* free"
        ) as caught,
        CorpusWriter(root, shard_bytes=100_000) as writer,
    ):
        for i in range(100):
            writer.add(make.recording(f"p{i:02d}"), make.channels(20), make.windows(i, 4, 20, 500))
    _one_line(caught)
    corpus = Corpus(root)
    assert corpus.verify().problems == []
    assert not list(root.rglob("*.tmp"))
    names = corpus.index["recording"].unique().tolist()
    assert names == [f"p{i:02d}" for i in range(len(names))]
    assert len(names) >= 2
    for i in range(len(names)):
        np.testing.assert_array_equal(corpus.read(4 * i), make.windows(i, 4, 20, 500)[0].data.astype(np.float16))


def test_a_copy_to_a_full_disk_names_the_shard(corpus_root, small_disk, make):
    (small_disk / "ballast").write_bytes(bytes(540_000))
    with pytest.raises(StorageError, match="cannot be written") as caught:
        merge([Corpus(corpus_root)], small_disk / "copy")
    _one_line(caught)
    assert not list(small_disk.rglob("*.tmp"))


def test_a_read_only_disk_is_read_and_not_written(small_disk, make):
    root = small_disk / "c"
    with CorpusWriter(root) as writer:
        writer.add(make.recording("p1"), make.channels(5), make.windows(1))
    _remount(small_disk, "ro")
    corpus = Corpus(root)
    np.testing.assert_array_equal(corpus.read(0), make.windows(1)[0].data.astype(np.float16))
    assert corpus.verify().problems == []
    for action in (
        lambda: corpus.compact(),
        lambda: corpus.delete(datasets=["demo"]),
        lambda: CorpusWriter(small_disk / "new"),
        lambda: export(corpus, small_disk / "out"),
    ):
        with pytest.raises(StorageError, match=rf"{small_disk}.*Read-only file system") as caught:
            action()
        _one_line(caught)
    writer = CorpusWriter(root)
    with pytest.raises(StorageError, match="Read-only file system"):
        writer.add(make.recording("p2"), make.channels(5, seed=9), make.windows(2))


@pytest.mark.parametrize(("code", "words"), [(errno.EROFS, "Read-only file system"), (errno.ENOSPC, "No space left")])
def test_a_shard_that_cannot_be_written_is_named_and_kept_in_memory(tmp_path, make, monkeypatch, code, words):
    writer = CorpusWriter(tmp_path / "c")
    writer.add(make.recording("p1"), make.channels(5), make.windows(1))

    def refuses(path, mode="r", *_):
        raise OSError(code, words)

    with monkeypatch.context() as patched:
        patched.setattr(files, "open", refuses, raising=False)
        with pytest.raises(StorageError, match=rf"shards/demo-.*safetensors: cannot be written \({words}") as caught:
            writer.flush()
    _one_line(caught)
    assert not list((tmp_path / "c" / "shards").iterdir())
    writer.close()
    assert Corpus(tmp_path / "c").verify().windows == 4
