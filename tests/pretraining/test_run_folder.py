from __future__ import annotations

import errno
import logging

import pytest

from brainof.errors import CheckpointError
from brainof.pretraining import run_folder
from brainof.pretraining.run_folder import locked, read_metrics


def test_a_second_trainer_is_refused(tmp_path):
    with locked(tmp_path / "run"), pytest.raises(CheckpointError, match="another process"), locked(tmp_path / "run"):
        pass
    with locked(tmp_path / "run"):
        pass


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENOLCK, errno.EINVAL])
def test_a_file_system_without_locks_is_said_and_trained_on(tmp_path, monkeypatch, caplog, code):
    def refuses(*_):
        raise OSError(code, "not supported")

    monkeypatch.setattr(run_folder.fcntl, "flock", refuses)
    with caplog.at_level(logging.WARNING), locked(tmp_path / "run"):
        pass
    assert "cannot be locked here (not supported)" in caplog.text


def test_metrics_are_read_up_to_a_line_that_a_kill_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "loss": 0.5}\n{"step": 3, "lo')
    assert read_metrics(path) == [{"step": 1}, {"step": 2, "loss": 0.5}]


@pytest.mark.parametrize("line", [b"5", b"[]", b'{"loss": 1}', b'{"step": null}', b"\xff\xfe", b'{"step": 2, "lo'])
def test_a_damaged_line_of_metrics_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: line 2: is damaged; delete that line"):
        read_metrics(path)
