from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from brainof.adaptation import Ensemble, FullFineTune, LinearProbe, LoRA, TrainingSet
from brainof.adaptation.saving import CONFIG, TENSORS, load_adapter, model_digest, save_adapter
from brainof.errors import CheckpointError
from brainof.inference.batches import pooled
from brainof.model import BrainOF
from brainof.utils.checksum import crc32c

QUICK = {"epochs": 2, "batch_size": 12, "validation": 0.0}


@pytest.mark.parametrize(
    "chosen",
    [LinearProbe(), LoRA(rank=2, expert_rank=2, **QUICK), FullFineTune(**QUICK), Ensemble(members=2)],
    ids=lambda chosen: chosen.name,
)
def test_an_adapter_comes_back_as_it_was_saved(chosen, model, examples, target, tmp_path):
    fitted = chosen.apply(model, TrainingSet(examples, target))
    folder = save_adapter(tmp_path / "adapter", fitted, "runs/base", model_digest(model), {"note": 1})
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, TENSORS]
    config = json.loads((folder / CONFIG).read_text())
    assert config["base_model_name_or_path"] == "runs/base"
    loaded = load_adapter(folder, model)
    for one, two in zip(fitted.members(), loaded.members(), strict=True):
        np.testing.assert_allclose(two.outputs(examples), one.outputs(examples), atol=1e-5)
        assert two.temperature == one.temperature


def test_peft_reads_the_linear_part_with_the_same_result(examples, target, tmp_path):
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug").double().eval()
    chosen = LoRA(rank=4, expert_rank=0, lr=0.05, **QUICK)
    fitted = chosen.apply(model, TrainingSet(examples, target))
    folder = save_adapter(tmp_path / "adapter", fitted, "runs/base", model_digest(model), {})
    config = peft.LoraConfig.from_pretrained(folder)
    wrapped = peft.PeftModel(model, config)
    peft.set_peft_model_state_dict(wrapped, peft.utils.load_peft_weights(str(folder), device="cpu"))
    expected = pooled(fitted.model, examples, "mean_std")
    base = wrapped.get_base_model()
    np.testing.assert_allclose(pooled(base, examples, "mean_std"), expected, rtol=1e-10, atol=1e-10)
    with wrapped.disable_adapter():
        assert np.abs(pooled(base, examples, "mean_std") - expected).max() > 1e-3


def test_wrong_damaged_and_foreign_adapters_are_refused(model, examples, target, tmp_path):
    fitted = LinearProbe().apply(model, TrainingSet(examples, target))
    folder = save_adapter(tmp_path / "adapter", fitted, "runs/base", model_digest(model), {})
    torch.manual_seed(1)
    with pytest.raises(CheckpointError, match="was made on another base model; load it with runs/base"):
        load_adapter(folder, BrainOF.from_preset("debug"))
    with pytest.raises(CheckpointError, match=f"holds no {CONFIG}"):
        load_adapter(tmp_path, model)
    whole = (folder / TENSORS).read_bytes()
    (folder / TENSORS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="is damaged, or no adapter of brainof"):
        load_adapter(folder, model)
    (folder / TENSORS).write_bytes(whole)
    config = json.loads((folder / CONFIG).read_text())
    config["brainof"]["layout"] = 7
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="layout 7, this version reads 2"):
        load_adapter(folder, model)
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(CheckpointError, match="no adapter of brainof"):
        load_adapter(folder, model)


def test_a_flipped_bit_and_an_impossible_temperature_are_seen(model, examples, target, tmp_path):
    import json

    folder = save_adapter(
        tmp_path / "a", LinearProbe().apply(model, TrainingSet(examples, target)), "debug", model_digest(model), {}
    )
    config, tensors = folder / CONFIG, folder / TENSORS
    values, content = json.loads(config.read_text()), bytearray(tensors.read_bytes())
    for temperature in (0, -1.0, float("nan"), float("inf"), "warm", None):
        values["brainof"]["members"][0]["temperature"] = temperature
        config.write_text(json.dumps(values))
        with pytest.raises(CheckpointError, match="temperature"):
            load_adapter(folder, model)
    for change in (
        {"report": {}, "temperature": 1.0, "head": {**values["brainof"]["members"][0]["head"], "width": 3}},
    ):
        values["brainof"]["members"][0] |= change
        config.write_text(json.dumps(values))
        with pytest.raises(CheckpointError, match="does not fit its base model"):
            load_adapter(folder, model)
    content[-2] ^= 0x40
    tensors.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"safetensors: is damaged .its checksum differs.; save it again"):
        load_adapter(folder, model)


def test_a_tensor_that_is_missing_is_damage(model, examples, target, tmp_path):
    folder = save_adapter(
        tmp_path, LinearProbe().apply(model, TrainingSet(examples, target)), "debug", model_digest(model), {}
    )
    tensors = safetensors.torch.load((folder / TENSORS).read_bytes())
    del tensors["brainof.head.mean_F"]
    content, values = safetensors.torch.save(tensors), json.loads((folder / CONFIG).read_text())
    values["brainof"]["crc32c"] = crc32c(content)
    (folder / TENSORS).write_bytes(content)
    (folder / CONFIG).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"does not fit its base model .'mean_F'.; save it again"):
        load_adapter(folder, model)


def test_saving_keeps_what_else_lies_in_the_folder(model, examples, target, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "data.txt").write_text("years of work")
    fitted = LinearProbe().apply(model, TrainingSet(examples, target))
    for _ in range(2):
        save_adapter(tmp_path, fitted, "debug", model_digest(model), {})
    assert (tmp_path / "thesis" / "data.txt").read_text() == "years of work"
    assert load_adapter(tmp_path, model).temperature == fitted.temperature
