"""Where a page or a run comes from: version, commit, date, seed, command, machine."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ..version import __version__

#: Packages whose versions a reader needs to repeat it
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "mne", "nibabel", "nilearn", "pandas", "matplotlib")


def provenance(*, command: str = "", seed: Any = None) -> dict[str, str]:
    """What stands at the foot of every page; what is unknown is left out."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    found = {"version": __version__, "commit": commit(), "date": now}
    found |= {"seed": "" if seed is None else str(seed), "command": command}
    found |= {"Python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    return {key: value for key, value in found.items() if value}


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that matter, as far as they are installed."""
    found = {"brainof": __version__}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@cache
def commit() -> str:
    """Commit of the source tree this package runs from; empty for an installed package."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists() or not (root / "src" / "brainof").is_dir():
        return ""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=10, env=environment, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()
