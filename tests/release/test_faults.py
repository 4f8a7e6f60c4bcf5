"""What must not happen to a user's files, memory or terminal."""

from __future__ import annotations

import json
import resource
import signal

import pytest

import brainof
from brainof.cli import main
from brainof.errors import CheckpointError, ConfigError
from brainof.release import save_pretrained, save_release


@pytest.mark.parametrize("how", ["save_pretrained", "push --to"])
def test_a_folder_with_other_files_is_left_as_it_is(release, tmp_path, how, capsys):
    folder = tmp_path / "mine"
    (folder / "thesis").mkdir(parents=True)
    (folder / "thesis" / "data.txt").write_text("years of work")
    if how == "save_pretrained":
        with pytest.raises(ConfigError, match="mine: holds 'thesis', which is not of a release; give a new folder"):
            save_pretrained(release, folder)
    else:
        assert main(["push", str(release), "lab/model", "--to", str(folder)]) == 2
        assert "holds 'thesis'" in capsys.readouterr().err
    assert [path.name for path in folder.rglob("*")] == ["thesis", "data.txt"]
    with pytest.raises(ConfigError, match="is a file"):
        save_pretrained(release, folder / "thesis" / "data.txt")


def test_an_earlier_release_and_an_empty_folder_are_replaced(release, tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    model, contract = brainof.load(release)
    for size in (100_000, 10**9):  # shards, then a single file: no shard stays behind
        save_release(folder, model, contract, max_shard_bytes=size)
        brainof.load(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessing.json",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 1_048_576},
        {"sampler": {"latents": 10**9}},
        {"backbone": {"depth": 100_000}},
        {"backbone": {"experts": 10**9}},
        {"backbone": {"hidden": 2**30}},
        {"head": {"outputs": 10**12, "pool": "mean"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_configuration_of_a_huge_model_is_refused_before_memory_is_taken(release, change, monkeypatch):
    config = json.loads((release / "config.json").read_text())
    for key, value in change.items():
        if key == "head":
            config["head"] = value
        elif isinstance(value, dict):
            config["model"].setdefault(key, {}).update(value)
        else:
            config["model"][key] = value
    (release / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("brainof.model.BrainOF.__init__", lambda *_: pytest.fail("a model was made"))
    with pytest.raises(CheckpointError, match="config.json: announces a model of [0-9,]+ parameters, but the weights"):
        brainof.load(release)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"files": ["model.safetensors"]}, "files"),
        ({"files": None}, "files"),
        ({"files": {"model.safetensors": {"bytes": "many", "sha256": "0"}}}, "files.model.safetensors.bytes"),
        ({"files": {"model.safetensors": {"bytes": None, "sha256": "0"}}}, "files.model.safetensors.bytes"),
        ({"head": {"pool": "mean"}}, "head.outputs"),
        ({"head": [1]}, "head"),
        ({"model": 3}, "model"),
    ],
)
def test_a_damaged_configuration_is_named_by_file_and_field(release, change, field):
    config = json.loads((release / "config.json").read_text())
    (release / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ConfigError, match=rf"config\.json: {field}: "):
        brainof.load(release)


@pytest.mark.parametrize("name", ["config.json", "preprocessing.json"])
def test_json_that_is_nested_too_deep_is_damaged(release, name):
    (release / name).write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=f"{name}: is damaged"):
        brainof.load(release)


@pytest.mark.parametrize("name", ["config.json", "preprocessing.json"])
def test_a_configuration_of_gigabytes_is_not_read(release, name):
    with (release / name).open("r+b") as file:
        file.truncate(20 * 10**9)  # a hole: it takes no disk
    with pytest.raises(CheckpointError, match=f"{name}: is damaged or incomplete .20 GB of text."):
        brainof.load(release)


@pytest.mark.parametrize("patch", [0, -1, "x", None])
def test_a_contract_without_a_patch_is_named(release, patch):
    path = release / "preprocessing.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "patch": patch}))
    with pytest.raises(ConfigError, match=r"preprocessing\.json: patch: "):
        brainof.load(release)


def test_a_full_disk_is_one_line_and_leaves_nothing(release, tmp_path, capsys):
    """A limit on the size of files stands for the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        code = main(["push", str(release), "lab/model", "--to", str(tmp_path / "sent")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert code == 3
    error = capsys.readouterr().err
    assert "model.safetensors: cannot be written" in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release"]
