"""`brainof doctor`: versions, devices, extras and disk of this machine, and what would help."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..utils.values import counted
from ..version import __version__
from . import show

EXAMPLE = """examples:
  brainof doctor
  brainof doctor --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    import torch

    needs = [_requirement(line) for line in importlib.metadata.requires("brainof") or []]
    extras = {extra for _, extra in needs if extra}
    missing = {
        extra: [name for name, of in needs if of == extra and name != "brainof" and _version(name) is None]
        for extra in sorted(extras)
    }
    devices = [f"cpu ({counted(torch.get_num_threads(), 'thread')} of torch)"]
    devices += [f"cuda:{number} {torch.cuda.get_device_name(number)}" for number in range(torch.cuda.device_count())]
    devices += ["mps"] * torch.backends.mps.is_available()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found: dict[str, Any] = {
        "brainof": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: _version(name) for name, extra in needs if not extra},
        "devices": devices,
        "cores": cores,
        "memory_gb": _memory(),
        "disk_free_gb": {str(Path.cwd()): round(shutil.disk_usage(".").free / 1e9, 1)},
        "extras": {extra: names for extra, names in missing.items() if extra != "test"},
    }
    found["advice"] = list(_advice(found, torch))
    packages = ", ".join(f"{name} {version or 'MISSING'}" for name, version in found["packages"].items())
    memory = "" if found["memory_gb"] is None else f", {found['memory_gb']} GB memory"
    lines = [
        f"brainof  {found['brainof']}, Python {found['python']}",
        f"system   {found['system']}, {counted(cores, 'core')}{memory}",
        f"devices  {', '.join(devices)}",
        *(f"disk     {folder}: {free} GB free" for folder, free in found["disk_free_gb"].items()),
        f"packages {packages}",
    ]
    for extra, names in found["extras"].items():
        state = f"not installed (pip install 'brainof[{extra}]' brings {', '.join(names)})" if names else "installed"
        lines.append(f"extra    {extra}: {state}")
    lines += [f"advice   {sentence}" for sentence in found["advice"] or ["nothing to do"]]
    return show(args, found, lines)


def _advice(found: dict[str, Any], torch: Any) -> Iterator[str]:
    absent = [name for name, version in found["packages"].items() if version is None]
    if absent:
        yield f"not installed: {', '.join(absent)}; run `pip install brainof` again"
    if torch.version.cuda and not torch.cuda.is_available():
        yield (
            f"this torch was built for CUDA {torch.version.cuda}, but no GPU is usable: install its driver, "
            "or save 5 GB of disk with the CPU build (pip install torch --index-url https://download.pytorch.org/whl/cpu)"
        )
    if not torch.version.cuda and shutil.which("nvidia-smi"):
        yield "there is an NVIDIA GPU, but this torch is a CPU build: install the CUDA build of torch"
    threads = torch.get_num_threads()
    if threads > found["cores"]:
        yield f"torch uses {threads} threads on {counted(found['cores'], 'core')}: set OMP_NUM_THREADS={found['cores']}"
    if found["memory_gb"] and found["memory_gb"] < 4:
        yield "under 4 GB of memory: give `--memory 1GB` to `brainof prepare`"
    for folder, free in found["disk_free_gb"].items():
        if free < 5:
            yield f"{folder}: {free} GB free; corpora and runs need space"


def _requirement(line: str) -> tuple[str, str | None]:
    """`zarr>=3; extra == "zarr"` as (name, extra)."""
    extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
    return re.split(r"[^\w.-]", line, maxsplit=1)[0], extra and extra[1]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):  # Windows
        return None
