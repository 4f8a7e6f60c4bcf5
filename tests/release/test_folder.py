from __future__ import annotations

import json
import os
import pickle

import pytest
import torch

import brainof
from brainof.errors import CheckpointError, ConfigError
from brainof.release import save_pretrained, save_release
from brainof.release.folder import INDEX, MAX_SHARD_BYTES, save_weights, split


def test_round_trip_with_a_head(tmp_path, model, contract):
    model.reset_head(3, "mean")
    save_pretrained(model, tmp_path / "m", contract=contract)
    loaded, own = brainof.load(tmp_path / "m")
    assert own == contract
    assert loaded.head.pool == "mean"
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)


def test_methods_of_the_class_do_as_the_functions(tmp_path, model, contract, hub):
    model.contract = contract
    model.save_pretrained(tmp_path / "m", name="Mine")
    again = brainof.BrainOF.from_pretrained(tmp_path / "m")
    assert again.contract == contract
    again.push_to_hub("lab/mine", license="mit")
    card = hub.repos["lab/mine"][-1][1]["README.md"].decode()
    assert 'license: "mit"' in card
    online = brainof.BrainOF.from_pretrained("lab/mine")
    assert all(torch.equal(online.state_dict()[name], value) for name, value in model.state_dict().items())


def test_a_preset_has_its_own_stream_of_random_weights():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, _ = brainof.load("debug")
    assert torch.equal(torch.rand(3), expected)
    again, other = brainof.load("debug", seed=0)[0], brainof.load("debug", seed=1)[0]
    weights = [next(model.parameters()) for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_shards_hold_all_tensors_within_their_size(tmp_path, model, contract):
    save_release(tmp_path / "m", model, contract, max_shard_bytes=60_000)
    index = json.loads((tmp_path / "m" / INDEX).read_text())
    assert set(index["weight_map"]) == set(model.state_dict())
    files = sorted((tmp_path / "m").glob("*.safetensors"))
    assert [file.name for file in files] == sorted(set(index["weight_map"].values()))
    assert len(files) > 2
    assert all(file.stat().st_size < 60_000 + 10_000 for file in files)  # the header comes on top
    loaded, _ = brainof.load(tmp_path / "m")
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in model.state_dict().items())


def test_split_gives_a_large_tensor_its_own_shard():
    tensors = {"a": torch.zeros(2), "b": torch.zeros(100), "c": torch.zeros(2), "d": torch.zeros(2)}
    assert split(tensors, 16) == [["a"], ["b"], ["c", "d"]]


def damage(name):
    def change(folder):
        if name == "truncated":
            path = folder / "model.safetensors"
            path.write_bytes(path.read_bytes()[:-500])
        elif name == "bit":
            path = folder / "model.safetensors"
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 4
            path.write_bytes(content)
        elif name == "renamed pickle":
            (folder / "model.safetensors").write_bytes(pickle.dumps({"weight": 1}))
        elif name == "torch pickle":
            torch.save({"weight": torch.zeros(2)}, folder / "model.safetensors")
        elif name == "only pickles":
            (folder / "model.safetensors").unlink()
            (folder / "pytorch_model.bin").write_bytes(b"PK")
        elif name == "gone":
            (folder / "model.safetensors").unlink()
        elif name == "text":
            (folder / "preprocessing.json").write_text("{")
        elif name == "layout":
            edit(folder, layout=4)
        elif name == "old layout":
            edit(folder, layout=2)
        elif name == "library":
            (folder / "config.json").write_text('{"model_type": "vit"}')
        elif name == "other size":
            config = json.loads((folder / "config.json").read_text())
            edit(folder, model={**config["model"], "sampler": {"latents": 4, "heads": 2}})
        elif name == "other depth":
            config = json.loads((folder / "config.json").read_text())
            edit(folder, model={**config["model"], "backbone": {**config["model"]["backbone"], "depth": 3}})
        elif name == "outside":
            (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))

    return change


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("truncated", r"model\.safetensors: is cut short: [\d,]+ of [\d,]+ bytes; download or copy it again"),
        ("bit", r"model\.safetensors: is damaged: its SHA-256 is not that of the release"),
        ("renamed pickle", r"model\.safetensors: is a pickle under another name, which can run any code"),
        ("torch pickle", r"model\.safetensors: is a pickle under another name, which can run any code"),
        ("only pickles", r"release: holds only pickled weights \(pytorch_model\.bin\), which can run any code"),
        ("gone", r"model\.safetensors: is missing"),
        ("text", r"preprocessing\.json: is damaged or incomplete"),
        ("layout", r"config\.json: layout 4, this version reads 3; install the brainof that wrote it"),
        (
            "old layout",
            r"config\.json: layout 2 with its flat model configuration, .* reads 3; install .*, or pretrain again",
        ),
        ("library", r"config\.json: is not the configuration of a brainof release but of 'vit'"),
        ("other size", r"weights do not fit the configuration"),
        ("other depth", r"weights do not fit the configuration: 'blocks\.2\.[\w.]+' is missing"),
        ("outside", r"'\.\./model\.safetensors' is not a weight file"),
    ],
)
def test_what_is_not_a_whole_release_is_refused_in_one_line(release, what, sentence):
    damage(what)(release)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        brainof.load(release)
    assert "\n" not in str(caught.value)


def test_files_are_not_models(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="is a pickled file, which can run any code"):
        brainof.load(path)
    (tmp_path / "m.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="name the release folder"):
        brainof.load(tmp_path / "m.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no released model"):
        brainof.load(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="did you mean 'tiny'"):
        brainof.load("tinny")


def test_revisions_are_for_the_hub_alone(release):
    for model in (release, "debug"):
        with pytest.raises(ConfigError, match="has no revision"):
            brainof.load(model, revision="main")


def test_a_model_is_not_saved_without_its_contract(tmp_path, model):
    with pytest.raises(ConfigError, match="contract: is missing"):
        save_pretrained(model, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("shard", [MAX_SHARD_BYTES, 40_000])
def test_files_have_the_permissions_that_the_user_gives(tmp_path, shard):
    """Weights too, in one file or several: colleagues can read what they may read."""
    before = os.umask(0o027)
    try:
        save_weights(tmp_path, {"a": torch.zeros(5000), "b": torch.zeros(6000)}, shard)
        (tmp_path / "own").touch()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o640}, modes
    assert len(modes) == (2 if shard == MAX_SHARD_BYTES else 4)
