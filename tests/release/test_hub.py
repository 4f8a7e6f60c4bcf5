from __future__ import annotations

import json

import pytest
import torch

import brainof
from brainof.cli import main
from brainof.errors import CheckpointError, ConfigError, DependencyError
from brainof.release import push_to_hub, save_release
from brainof.release.hub import hub_id


def same(first, second) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_what_is_pushed_is_what_loads(hub, release, model, contract):
    url = push_to_hub(release, "lab/small")
    assert url.startswith(f"{hub.url}/lab/small/commit/")
    loaded, own = brainof.load("lab/small")
    assert same(loaded, model)
    assert own == contract
    assert not loaded.training


def test_a_second_push_is_one_commit_without_stale_shards(hub, release, model, contract):
    save_release(release, model, contract, max_shard_bytes=60_000)
    push_to_hub(release, "lab/small")
    assert sum(name.endswith(".safetensors") for name in hub.commit("lab/small", "main")[1]) > 2
    save_release(release, model, contract)
    before = len(hub.repos["lab/small"])
    push_to_hub(release, "lab/small")
    files = hub.commit("lab/small", "main")[1]
    assert len(hub.repos["lab/small"]) == before + 1
    assert set(files) == {".gitattributes", "README.md", "config.json", "model.safetensors", "preprocessing.json"}
    assert same(brainof.load("lab/small")[0], model)


def test_shards_travel(hub, release, model, contract):
    save_release(release, model, contract, max_shard_bytes=60_000)
    hub.put("lab/sharded", release)
    assert same(brainof.load("lab/sharded")[0], model)


def test_revisions(hub, release, model, contract):
    first = hub.put("lab/small", release)
    other = type(model).from_preset("debug").eval()
    save_release(release, other, contract)
    push_to_hub(release, "lab/small", revision="next")
    assert same(brainof.load("lab/small")[0], model)
    assert same(brainof.load("lab/small", revision="next")[0], other)
    assert same(brainof.load("lab/small", revision=first)[0], model)
    with pytest.raises(CheckpointError, match=r"lab/small: revision: no such revision 'nowhere'"):
        brainof.load("lab/small", revision="nowhere")


def test_offline_uses_the_cache_and_no_network(hub, release, model, monkeypatch):
    hub.put("lab/small", release)
    words = "lab/small: is no folder .* is not .* in the local cache, and offline; check the path, or load it once"
    with pytest.raises(CheckpointError, match=words):
        brainof.load("lab/small", offline=True)
    assert hub.requests == []
    brainof.load("lab/small")
    hub.requests.clear()
    assert same(brainof.load("lab/small", offline=True)[0], model)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert same(brainof.load("lab/small")[0], model)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set"):
        push_to_hub(release, "lab/small")
    assert hub.requests == []


def test_a_hub_that_is_down_leaves_the_cache(hub, release, model, monkeypatch):
    hub.put("lab/small", release)
    brainof.load("lab/small")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert same(brainof.load("lab/small")[0], model)
    with pytest.raises(
        CheckpointError, match="lab/other: is no folder here, and as a model of the Hub it could not be reached"
    ):
        brainof.load("lab/other")


def test_the_hub_is_asked_only_where_an_id_was_meant(hub, release, model, tmp_path):
    (tmp_path / "runs").mkdir()
    assert hub_id("runs/frist") is None
    assert hub_id("hf://runs/frist") == "runs/frist"
    assert hub_id(tmp_path / "lab") is None
    assert [hub_id(name) for name in ("tiny", "./lab/small", "../lab", "a/b/c", "/lab/small")] == [None] * 5
    with pytest.raises(CheckpointError, match=r"no such run folder.*write hf://runs/frist for the Hub"):
        brainof.load("runs/frist")
    (tmp_path / "lab").mkdir()
    release.rename(tmp_path / "lab" / "small")
    assert same(brainof.load("lab/small")[0], model)
    assert hub.requests == []


def test_pickles_are_refused_and_not_downloaded(hub, tmp_path):
    hub.push("lab/pickled", {"config.json": b'{"model_type": "bert"}', "pytorch_model.bin": b"PK"})
    hub.push("lab/bare", {"weights.pt": b"PK"})
    for name in ("lab/pickled", "lab/bare"):
        with pytest.raises(CheckpointError, match=f"{name}: holds only pickled weights .*safetensors only"):
            brainof.load(name)
    assert not any("resolve" in request and ".bin" in request for request in hub.requests)
    assert not list(tmp_path.rglob("*.bin"))


def test_another_layout_is_refused_before_its_weights_are_fetched(hub, release):
    config = json.loads((release / "config.json").read_text())
    (release / "config.json").write_text(json.dumps({**config, "layout": 99}))
    hub.put("lab/future", release)
    with pytest.raises(CheckpointError, match="layout 99, this version reads 3"):
        brainof.load("lab/future")
    assert not any("model.safetensors" in request for request in hub.requests)


def test_a_download_that_breaks_off_is_one_sentence(hub, release, monkeypatch):
    import huggingface_hub.file_download

    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda _: None)
    hub.put("lab/small", release)
    hub.cut = {"model.safetensors"}
    with pytest.raises(CheckpointError, match=r"^lab/small: the transfer broke off .*; try again"):
        brainof.load("lab/small")


@pytest.mark.parametrize("flip", [False, True])
def test_a_file_that_changed_in_the_cache_is_found(hub, release, tmp_path, flip):
    hub.put("lab/small", release)
    brainof.load("lab/small")
    (blob,) = [path.resolve() for path in (tmp_path / "cache").rglob("model.safetensors")]
    content = bytearray(blob.read_bytes())
    if flip:
        content[-1000] ^= 1
    else:
        del content[-1000:]
    blob.chmod(0o644)
    blob.write_bytes(content)
    with pytest.raises(CheckpointError, match="SHA-256 is not that of the release" if flip else "is cut short"):
        brainof.load("lab/small", offline=True)


def test_refusals_of_the_hub(hub, release):
    with pytest.raises(CheckpointError, match="lab/none: no such model on the Hub; check the id"):
        brainof.load("lab/none")
    hub.status = 403
    with pytest.raises(CheckpointError, match=r"lab/small: the Hub refused \(HTTP 403\); log in"):
        push_to_hub(release, "lab/small")
    with pytest.raises(ConfigError, match="write organisation/name"):
        push_to_hub(release, "small")


def test_without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(DependencyError, match=r"needs the package huggingface_hub.*; pip install 'brainof\[hub\]'"):
        brainof.load("lab/small")


def test_the_command_line_pushes_and_loads(hub, release, capsys, tmp_path):
    assert main(["push", str(release), "lab/small", "--license", "cc-by-4.0"]) == 0
    assert hub.url in capsys.readouterr().out
    assert b'license: "cc-by-4.0"' in hub.commit("lab/small", "main")[1]["README.md"]
    requests = len(hub.requests)
    assert main(["push", str(release), "lab/small", "--to", str(tmp_path / "out")]) == 0
    assert len(hub.requests) == requests
    assert main(["push", str(tmp_path / "nothing"), "lab/small"]) == 2
    hub.requests.clear()
    assert main(["embed", "x.edf", "--model", "lab/other", "--offline", "--out", str(tmp_path / "e.npz")]) == 2
    assert "as a model of the Hub it is not (wholly) in the local cache, and offline" in capsys.readouterr().err
    assert hub.requests == []
