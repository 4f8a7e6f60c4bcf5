from __future__ import annotations

import errno
import os
import stat

import pytest

from brainof.errors import CorpusError, StorageError
from brainof.utils.files import make_folder, parse_json, read_json, write_atomically, write_json


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.json"
    write_atomically(path, [b"old"])

    def broken():
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, broken())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_equal_file_is_not_written_again(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": [None]})
    before = path.stat().st_ino
    write_json(path, {"a": [None], "b": 1})
    assert path.stat().st_ino == before
    assert read_json(path) == {"a": [None], "b": 1}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000, "9" * 5_000, "{", b"\xff"])
def test_damage_of_json_is_one_kind_of_error(text):
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(text)


@pytest.mark.parametrize(("text", "word"), [(None, "missing"), (b"{", "not valid JSON"), (b"[]", "not a JSON object")])
def test_a_json_file_that_cannot_be_used_is_named(tmp_path, text, word):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(CorpusError, match=rf"a\.json: is .*{word}"):
        read_json(path)


def test_a_folder_where_a_file_is_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        make_folder(tmp_path / "file" / "folder")


@pytest.mark.parametrize(("code", "is_written"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_file_system_that_syncs_no_folders_is_written_to(tmp_path, monkeypatch, code, is_written):
    real = os.fsync

    def sync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    if is_written:
        write_json(tmp_path / "a.json", {"a": 1})
        assert read_json(tmp_path / "a.json") == {"a": 1}
    else:
        with pytest.raises(StorageError, match="a.json"):
            write_json(tmp_path / "a.json", {"a": 1})


def test_values_with_a_checksum_come_back_and_a_change_is_named(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": (1, 2.5), "a": {3: None}, "ü": "ß"}, checksum=True)
    assert read_json(path) == {"b": [1, 2.5], "a": {"3": None}, "ü": "ß"}
    path.write_text(path.read_text().replace("2.5", "2.4"))
    with pytest.raises(CorpusError, match=r"a\.json: is damaged \(its checksum differs\)"):
        read_json(path)
