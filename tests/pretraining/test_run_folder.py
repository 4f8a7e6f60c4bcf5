from __future__ import annotations

import errno
import logging

import pytest

from brainof.errors import CheckpointError
from brainof.pretraining import run_folder
from brainof.pretraining.run_folder import locked


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
