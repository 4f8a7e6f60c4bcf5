"""Nothing that a foreign file holds is run: no call of the package could reach pickle, joblib or the interpreter."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "brainof"

#: modules whose readers run what they read
RUNNING = {
    "pickle",
    "_pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "skops",
    "runpy",
    "code",
}
#: calls that unpickle or run their argument, by their last two names
LOADERS = {
    *("torch.load", "jit.load", "package.PackageImporter", "hub.load", "export.load", "dcp.load", "checkpoint.load"),
    *("joblib.load", "sklearn.load", "pd.read_pickle", "pandas.read_pickle", "pd.read_hdf", "pandas.read_hdf"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "np.fromregex", "mne.read_pickle"),
    *("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"),
}
#: file -> what it may, and why
ALLOWED = {
    # where the cache is, only the user says: `saving.LOCAL` keeps it out of files
    "estimators/base.py": {"sklearn.utils.validation.check_memory"},
    # the program of an installed package, one of three names
    "interop/brainmarks.py": {"runpy"},
    # the loader of schema.py is a SafeLoader
    "schema.py": {"yaml.load"},
}


def reaching(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of what in a source could run what a file holds."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] in RUNNING or name.endswith(".check_memory"):
                yield node.lineno, name
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if keywords.get("allow_pickle", "False") != "False" or keywords.get("weights_only") == "False":
                yield node.lineno, f"{called} with pickle"
            elif ".".join(called.split(".")[-2:]) in LOADERS or called == "yaml.load":
                yield node.lineno, called


def test_no_loader_of_the_package_runs_what_it_reads():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        allowed = ALLOWED.get(file, set())
        found += [f"{file}:{line}: {name}" for line, name in reaching(path.read_text()) if name not in allowed]
    assert not found


#: files that parse a text of their own, or one whose checksum was compared
JSON_OF_OUR_OWN = {"cli/adapt.py", "cli/evaluate.py", "corpus/shards.py", "utils/files.py"}


def test_json_of_files_is_parsed_by_the_one_function_that_names_all_damage():
    """`json.loads` has an error of its own for a nesting that is too deep, which no reader expects."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.loads", "json.load")
    }
    assert found == JSON_OF_OUR_OWN


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('a')",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "yaml.load(text, Loader)",
        "exec(text)",
        "safe.load(path, weights_only=False)",
        "from sklearn.utils.validation import check_memory",
    ],
)
def test_each_kind_would_be_seen(line):
    assert list(reaching(line))
