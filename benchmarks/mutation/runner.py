"""Tests on a copy of the project, in processes forked from one that has imported the libraries already.

A first run of the tests, under coverage, says which tests reach which line and how long each takes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import coverage
import pytest

from .places import Mutant

COPIED = ("src", "tests", "studies", "benchmarks", "docs", "pyproject.toml", "README.md", "run")
QUICK = 1.0
OWN = ("brainof", "tests", "studies", "benchmarks", "conftest")
_OPTIONS = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout=0"]  # the limit is the runner's


class Runner:
    """Runs the tests that reach a mutant.

    Parameters
    ----------
    root : Path
        The project.
    tests : list of str
        Files and folders of tests, relative to it.
    """

    def __init__(self, root: Path, tests: list[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mutants-")
        self.project, self.root, self.seconds = root, Path(self._folder.name).resolve(), {}
        for name in filter(lambda name: (root / name).exists(), COPIED):
            copy = shutil.copytree if (root / name).is_dir() else shutil.copy2
            copy(root / name, self.root / name)
        first = self.root / "first.json"
        if self._child(lambda: _first_run(self.root, tests, first), 7200) != 0:
            raise RuntimeError(f"the tests fail without a change: {first.with_suffix('.txt').read_text()[-2000:]}")
        found = json.loads(first.read_text())
        self.seconds: dict[str, float] = found["seconds"]  # of each test
        self.reached: dict[str, dict[str, list[str]]] = found["reached"]
        _import(found["modules"])

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exception: object) -> None:
        self._folder.cleanup()

    def outcome(self, mutant: Mutant) -> str:
        """ "noticed", "out of time" or "survived"."""
        tests = self.tests_of(mutant)
        if not tests:
            return "survived"
        path = self.root / mutant.path.relative_to(self.project)
        original, status = path.read_text(), path.stat()
        path.write_text(mutant.source)
        os.utime(path, (status.st_atime + 10, status.st_mtime + 10))  # the compiled original must not pass for it
        limit = 20 + 4 * sum(self.seconds[test] for test in tests)
        try:
            code = self._child(lambda: pytest.main([*_OPTIONS, *tests]), limit)
        finally:
            path.write_text(original)
            os.utime(path, (status.st_atime, status.st_mtime))
        return {None: "out of time", 0: "survived"}.get(code, "noticed")

    def tests_of(self, mutant: Mutant) -> list[str]:
        """Tests that execute the line, the quickest first.

        A line that is run by import alone (a constant, the range of a field) may matter to any test of the room: all
        that reach the file, then the others of less than `QUICK` seconds.
        """
        lines = self.reached.get(str(mutant.path.relative_to(self.project)), {})
        tests = set(lines.get(str(mutant.line), ()))
        others: set[str] = set()
        if not tests:
            tests = {test for found in lines.values() for test in found}
            others = {test for test, seconds in self.seconds.items() if seconds < QUICK} - tests
        return [*sorted(tests, key=self.seconds.__getitem__), *sorted(others, key=self.seconds.__getitem__)]

    def _child(self, work: Callable[[], int], limit: float) -> int | None:
        """Exit status of work in a forked process; None where it was stopped after `limit` seconds."""
        child = os.fork()
        if child == 0:
            os.setsid()
            try:
                self._become_a_test_process()
                status = work()
            except BaseException:
                status = 99
            os._exit(status)
        end = time.monotonic() + limit
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None

    def _become_a_test_process(self) -> None:
        gc.freeze()  # pytest looks for garbage at its end: not in what was inherited
        os.chdir(self.root)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        for name in [name for name in sys.modules if name.split(".")[0] in OWN]:
            del sys.modules[name]
        paths = [str(self.root / "src"), str(self.root)]
        sys.path[:0] = paths
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        sys.dont_write_bytecode = bool(self.seconds)  # only the first run keeps what it compiles
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


class _Recorder:
    """A pytest plugin: contexts of coverage are tests, and fixtures that tests share; seconds of each test."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.measured, self.seconds, self.shared = measured, defaultdict(float), defaultdict(set)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item, nextitem):
        self.test = item.nodeid
        for name in item.fixturenames:
            self.shared[name].add(item.nodeid)
        self.measured.switch_context(item.nodeid)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        shared = fixturedef.scope != "function"
        if shared:
            self.measured.switch_context(f"fixture {fixturedef.argname}")
        try:
            return (yield)
        finally:
            if shared:
                self.measured.switch_context(self.test)

    def pytest_runtest_logreport(self, report) -> None:
        self.seconds[report.nodeid] += report.duration


def _first_run(root: Path, tests: list[str], out: Path) -> int:
    source = root / "src" / "brainof"
    measured = coverage.Coverage(data_file=None, config_file=False, include=[f"{source}/*"])
    recorder = _Recorder(measured)
    with out.with_suffix(".txt").open("w") as said, contextlib.redirect_stdout(said):
        measured.start()
        status = pytest.main([*_OPTIONS, *tests], plugins=[recorder])
        measured.stop()
    data, reached = measured.get_data(), {}
    for file in data.measured_files():
        lines = data.contexts_by_lineno(file).items()
        reached[str(Path(file).relative_to(root))] = {
            line: sorted({test for context in contexts for test in _tests(context, recorder)})
            for line, contexts in lines
        }
    modules = [name for name in sys.modules if name.split(".")[0] not in OWN]
    out.write_text(json.dumps({"seconds": recorder.seconds, "reached": reached, "modules": modules}))
    return int(status)


def _tests(context: str, recorder: _Recorder) -> set[str]:
    if context.startswith("fixture "):
        return recorder.shared[context.removeprefix("fixture ")]
    return {context} - {""}


def _import(modules: list[str]) -> None:
    """What the first run imported: the processes of the mutants then start with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
