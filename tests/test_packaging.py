"""The source archive and the wheel made from it hold all that is needed, and the command works from them."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import brainof

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the package installed from a wheel that was built from the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    subprocess.run(build, check=True, capture_output=True)
    assert [file.name for file in folder.glob("*.tar.gz")] == [f"brainof-{brainof.__version__}.tar.gz"]
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    return target


def test_the_wheel_holds_types_and_recipes_and_nothing_else(installed):
    package = installed / "brainof"
    assert (package / "py.typed").exists()
    ours = {file.relative_to(REPOSITORY / "src") for file in (REPOSITORY / "src").rglob("*.pyi")}
    assert {file.relative_to(installed) for file in package.rglob("*.pyi")} == ours != set()
    assert (package / "release" / "pretrained" / "model.safetensors").stat().st_mode & 0o044  # everybody may read it
    for folder in ("datasets/recipes", "pretraining/recipes"):
        ours = {file.name for file in (REPOSITORY / "src" / "brainof" / folder).glob("*.yaml")}
        assert {file.name for file in (package / folder).glob("*.yaml")} == ours != set()
    assert {entry.name for entry in installed.iterdir()} <= {
        "brainof",
        "bin",
        f"brainof-{brainof.__version__}.dist-info",
    }


def test_the_long_description_holds_away_from_the_repository(installed):
    """No repository is named yet: its links are words, those to elsewhere stay; with one they lead there."""
    (info,) = installed.glob("brainof-*.dist-info")
    text = metadata.Distribution.at(info).metadata.get_payload()
    assert text.startswith("# brainof")
    links = re.findall(r"\]\((\S+)\)", text)
    assert links
    assert all(link.startswith("https://") for link in links)
    spec = importlib.util.spec_from_file_location("hatch_build", REPOSITORY / "hatch_build.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    given = "![A b](docs/a.svg) and [c](docs/c.md), [d](https://d.org)"
    assert hook.absolute(given, "") == " and c, [d](https://d.org)"
    assert hook.absolute(given, "https://x.org/y") == (
        "![A b](https://x.org/y/raw/HEAD/docs/a.svg) and [c](https://x.org/y/blob/HEAD/docs/c.md), [d](https://d.org)"
    )


def test_the_command_works_from_the_wheel(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, str(installed / "bin" / "brainof")]
    for arguments, expected in ((["--version"], brainof.__version__), (["info", "tiny"], "parameters")):
        done = subprocess.run([*command, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    where = [sys.executable, "-c", "import brainof; print(brainof.__file__)"]
    done = subprocess.run(where, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(installed)
