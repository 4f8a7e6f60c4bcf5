from __future__ import annotations

import subprocess
import sys

import pytest

from brainof.cli import COMMANDS, main


def test_unknown_command_suggests_the_nearest(capsys):
    assert main(["preprae"]) == 2
    assert "did you mean 'prepare'?" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "example" in capsys.readouterr().out


def test_import_is_lazy():
    code = "import sys, brainof; print([m for m in ('torch', 'mne', 'nilearn', 'pandas') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
