"""The loop obeys its settings: each against a loop, a formula or a figure written out here."""

from __future__ import annotations

import contextlib
import copy
import math

import numpy as np
import pytest
import torch

from brainof.errors import HealthError
from brainof.model import BrainOF
from brainof.pretraining.config import MaskConfig, ObjectiveConfig, PretrainConfig
from brainof.pretraining.masking import Masking
from brainof.pretraining.objective import Objective
from brainof.pretraining.parallel import clip_gradients
from brainof.pretraining.run import trainer_of
from brainof.pretraining.trainer import Schedule, Trainer, learning_rate, make_optimizer, require_finite

CONFIG = {
    "steps": 3,
    "accumulate": 2,
    "warmup": 0.4,
    "lr": 1e-2,
    "clip": 0.1,
    "weight_decay": 0.3,
    "balance_rate": 0.01,
    "objective": {"alpha": 0.3, "frequency_start": 0.5},
}


def batches(make_batch, count, windows=3):
    masking = Masking(MaskConfig(), 64)
    made = [make_batch(["eeg", "fmri"][i % 2], n_windows=windows, seed=i) for i in range(count)]
    return [masking.plan(batch, np.random.default_rng(i)) for i, batch in enumerate(made)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_three_steps_equal_a_loop_written_out_to_the_bit(make_batch, precision):
    """Masked batches -> losses -> gradients -> clipping -> AdamW on a schedule -> balance."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug")
    plain = copy.deepcopy(model)
    made = batches(make_batch, 6)
    config = PretrainConfig.parse({**CONFIG, "precision": precision, "batch_size": 3})
    objective = Objective(model, config.objective)
    steps = list(trainer_of(objective, config, torch.device("cpu")).steps(iter(made)))

    plain.train()
    decay = [p for name, p in plain.named_parameters() if p in decayed(plain)]
    rest = [p for p in plain.parameters() if p not in decayed(plain)]
    groups = [{"params": decay, "weight_decay": 0.3}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    for step, lr in enumerate((1e-2, 1e-2, 1e-2 * 0.5 * (1 + math.cos(math.pi / 2)))):
        alpha = 0.0 if step / 3 < 0.5 else 0.3
        pair = made[2 * step : 2 * step + 2]
        n_patches = sum(len(m.predicted_mask_BH[m.predicted_mask_BH]) for m in pair)
        loss = 0.0
        for masked in pair:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                tokens = plain.tokens(masked.batch)
                terms = Objective(plain, config.objective)
                latents = terms.encode(masked, tokens)
                found = terms.compare(masked, tokens, terms.decode(masked, tokens, latents), latents)
                part = ((1 - alpha) * found["time"] + alpha * found["frequency"]) / n_patches
            part.backward()
            loss += part.item()
        norm = torch.stack([p.grad.norm() for p in plain.parameters() if p.grad is not None]).norm()
        assert steps[step].norm.item() == pytest.approx(norm.item(), rel=1e-6)
        assert norm > 0.1  # so that it is clipped
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 0.1)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad()
        for block in plain.blocks:
            load = block.ffn.load_ME.sum(0)
            direction = (load.double().mean() - load).sign().float()
            block.ffn.selection_bias += 0.01 * (direction - direction.mean())
            block.ffn.load_ME.zero_()
        assert steps[step].number == step + 1
        assert steps[step].lr == lr
        assert steps[step].loss.item() == pytest.approx(loss, rel=1e-6)
    for (name, ours), theirs in zip(model.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def decayed(model) -> set:
    """Matrices of linear maps and of experts: what weight decay acts on, by the rule of the optimizer's docstring."""
    return {p for group in model.parameter_groups(0.3) if group["weight_decay"] for p in group["params"]}


def test_matrices_decay_and_vectors_latents_and_routers_do_not():
    model = BrainOF.from_preset("debug")
    optimizer = make_optimizer(model, PretrainConfig(weight_decay=0.3))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        plain = parameter.ndim < 2 or any(part in name for part in ("router", "latents", "lambda"))
        assert decay[id(parameter)] == (0.0 if plain else 0.3), name


def test_the_learning_rate_warms_up_and_falls_as_a_cosine():
    config = Schedule(2.0, 0.1, 100)
    found = [learning_rate(step, config) for step in range(101)]
    assert found[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert found[10:] == pytest.approx([1 + math.cos(math.pi * i / 90) for i in range(91)])


class Line(torch.nn.Module):
    """Loss: the weights times the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))

    def forward(self, batch, counts, progress):
        return {"loss": batch * (self.low + self.high).sum()}


def line(steps=4, accumulate=1):
    model = Line()
    groups = [{"params": [model.low], "lr_scale": 0.25}, {"params": [model.high]}]
    schedule = Schedule(1.0, 0.99, steps)
    return model, Trainer(model, torch.optim.SGD(groups, lr=1.0), schedule, clip=1e9, accumulate=accumulate)


def test_groups_move_by_their_scale_of_the_learning_rate():
    model, trainer = line()
    list(trainer.steps(iter([1.0] * 4)))
    assert model.low.item() == pytest.approx(0.25 * model.high.item())
    assert model.high.item() == pytest.approx(-(0.25 + 0.5 + 0.75 + 1.0))


def test_a_trapezoid_is_level_between_warm_up_and_cool_down():
    config = Schedule(2.0, 0.1, 100, cooldown=0.2)
    found = [learning_rate(step, config) for step in range(101)]
    assert found[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert found[10:80] == [2.0] * 70
    assert found[80:] == pytest.approx([2.0 - 0.1 * i for i in range(21)])


def test_batches_of_a_step_add_and_empty_ones_are_left_out():
    model, trainer = line(steps=1, accumulate=3)
    (step,) = trainer.steps(iter([1.0, None, 2.0]))
    assert step.batches == [1.0, 2.0]
    assert model.high.item() == -3.0
    (step,) = line(steps=1, accumulate=1)[1].steps(iter([None]))
    assert step.loss.item() == 0.0


def test_a_loss_that_is_not_finite_names_its_step():
    _, trainer = line()
    steps = list(trainer.steps(iter([1.0, 1.0, math.nan, 1.0])))
    require_finite(steps[:2])
    with pytest.raises(HealthError, match="loss nan.* at step 3"):
        require_finite(steps)


def test_nothing_waits_for_the_device_within_a_forward_pass_of_losses(make_batch):
    """Counts come with the batch: the losses of a masked batch are computed without reading a tensor."""
    (masked,) = batches(make_batch, 1)
    objective = Objective(BrainOF.from_preset("debug"), ObjectiveConfig())
    tokens = objective.model.tokens(masked.batch)
    outputs = {"waveform": torch.zeros(3, masked.predicted_BH.shape[1], 64)}
    outputs["log_spectrum"] = outputs["waveform"][..., :33]

    class Reads(torch.utils._python_dispatch.TorchDispatchMode):
        seen = ()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten._local_scalar_dense.default:
                self.seen = (*self.seen, func)
            return func(*args, **(kwargs or {}))

    with Reads() as reads:
        objective.combine(objective.compare(masked, tokens, outputs, torch.zeros(3, 8, 32))) / masked.counts["patches"]
    assert reads.seen == ()


@pytest.mark.parametrize("objective", [{}, {"frequency": "raw", "predict": "all"}], ids=["spectrum", "raw"])
def test_a_step_asks_the_device_nothing(make_batch, monkeypatch, objective):
    """From a planned batch to the balance of the experts no value of a tensor is read: each would wait for a GPU."""
    from brainof.model import experts
    from brainof.pretraining import parallel

    masking = Masking(MaskConfig(fourier_start=0.0), 64, predict=objective.get("predict", "hidden"))
    made = [masking.plan(make_batch(name, seed=3), np.random.default_rng(0)) for name in ("eeg", "fmri")]
    if not objective:  # bad channels and padding
        uneven = make_batch("meg", lengths=(256, 200, 128))
        uneven.channel_mask_BC[1, 2] = False
        made.append(masking.plan(uneven, np.random.default_rng(0)))
    config = PretrainConfig.parse({"steps": 1, "accumulate": len(made), "objective": objective, "precision": "float32"})
    trainer = trainer_of(Objective(BrainOF.from_preset("debug"), config.objective), config, torch.device("cpu"))
    # on a CPU the loads of the experts are read; what a GPU does is `grouped_experts`, which no CPU differentiates
    monkeypatch.setattr(experts, "choose", lambda x_TD: experts.all_experts)
    monkeypatch.setattr(parallel, "on_host", lambda value: False)  # a CPU looks whether there is anything to clip
    with host_reads(monkeypatch) as seen:
        (step,) = trainer.steps(iter(made))
        assert seen == []
        float(step.loss)
    assert len(seen) == 1


@pytest.mark.parametrize("most", [0.05, 5.0, 50.0])
def test_gradients_are_clipped_where_their_norm_is_larger(most):
    """As torch's own, to the bit; on a CPU nothing is touched where nothing is clipped."""
    gradients = [torch.full((3, 4), 1.0), torch.full((2,), -2.0), None]  # norm 4.47
    ours, theirs = ([torch.nn.Parameter(torch.zeros(3)) for _ in gradients] for _ in range(2))
    for parameters in (ours, theirs):
        for place, gradient in enumerate(gradients):
            if gradient is not None:
                parameters[place] = torch.nn.Parameter(torch.zeros_like(gradient))
                parameters[place].grad = gradient.clone()
    versions = [parameter.grad._version for parameter in ours[:2]]
    assert torch.equal(clip_gradients(ours, most), torch.nn.utils.clip_grad_norm_(theirs, most))
    assert ours[2].grad is None
    for one, two, version in zip(ours[:2], theirs[:2], versions, strict=True):
        assert torch.equal(one.grad, two.grad)
        assert (one.grad._version == version) == (most >= 5)


@contextlib.contextmanager
def host_reads(monkeypatch):
    """Where values of tensors are read: operators that bring one to the host, and conversions to Python."""
    seen: list[str] = []
    waits = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "unique_dim", "bincount", "equal")

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = func.overloadpacket.__name__
            indexed = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
            if indexed or name.startswith(waits):
                seen.append(name)
            return func(*args, **(kwargs or {}))

    for name in ("tolist", "numpy", "cpu"):
        plain = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda *args, plain=plain, name=name: seen.append(name) or plain(*args))
    with Watch():
        yield seen


def test_the_loop_is_that_of_the_configuration(model):
    """Each setting another than its default."""
    about = {"lr": 3e-3, "warmup": 0.2, "steps": 7, "cooldown": 0.4, "clip": 0.7, "balance_rate": 0.02, "accumulate": 3}
    config = PretrainConfig.parse({**about, "betas": [0.8, 0.7], "precision": "bfloat16"})
    trainer = trainer_of(Objective(model, config.objective), config, torch.device("cpu"))
    assert trainer.schedule == Schedule(3e-3, 0.2, 7, 0.4)
    assert (trainer.clip, trainer.balance_rate, trainer.accumulate, trainer.bfloat16) == (0.7, 0.02, 3, True)
    assert {group["betas"] for group in trainer.optimizer.param_groups} == {(0.8, 0.7)}
