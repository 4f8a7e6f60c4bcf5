"""What is remembered between batches is never stale, and costs no more memory than it may."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn.utils import parametrize

from brainof.adaptation.low_rank import add_low_rank, merge_low_rank
from brainof.model import remember
from brainof.model.remember import Remembered


def plain(model, batch):
    """Latents as training computes them."""
    return model.forward_features(batch).detach()


def agrees(model, batch):
    expected = plain(model, batch)
    with torch.inference_mode():
        for _ in range(2):  # made, then remembered
            torch.testing.assert_close(model.forward_features(batch), expected, rtol=0, atol=1e-12)


def test_a_layout_is_computed_once(make_batch, debug, monkeypatch):
    model, calls = debug(), []
    forward = type(model.identity).forward
    monkeypatch.setattr(type(model.identity), "forward", lambda *args: calls.append(None) or forward(*args))
    with torch.inference_mode():
        first, second = (model.tokens(make_batch()).identity_BND for _ in range(2))
        assert first is second
        model.tokens(make_batch(patches=4))
        model.tokens(make_batch(channels=4))
        assert model.tokens(make_batch()).identity_BND is first
    assert len(calls) == 3
    model.tokens(make_batch())
    assert len(calls) == 4  # gradients are asked for


def edit(change):
    """A change of the model's weights in place."""
    return pytest.param(change, id=change.__name__)


def optimizer_step(model):
    optimizer = torch.optim.SGD([model.latents_LD, *model.identity.parameters(), *model.encoder.parameters()], lr=0.1)
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = torch.ones_like(p)
    optimizer.step()


def load_state(model):
    model.load_state_dict({name: x * 1.01 for name, x in model.state_dict().items() if x.is_floating_point()})


def through_data(model):
    model.encoder.blocks[0].attention.key.weight.data[0].mul_(1.5)
    model.identity.linear.weight.data[0].mul_(1.5)


def cast_and_back(model):
    model.to(torch.bfloat16).to(torch.float64)


def new_parameter(model):
    model.encoder.blocks[0].attention.temperature = torch.nn.Parameter(torch.full((2,), 5.0, dtype=torch.float64))


def value_path(model):
    block = model.encoder.blocks[0]
    for weight in (model.content.norm.weight, block.value_norm.weight, block.attention.value.weight):
        weight.data.mul_(torch.rand_like(weight) + 0.5)


def low_rank_unmerged(model):
    for update in add_low_rank(
        model, {"encoder.blocks.0.attention.key.weight": 2}, {"encoder.blocks.0.attention.key.weight": 4}
    ).values():
        torch.nn.init.normal_(update.B)


def low_rank_merged(model):
    low_rank_unmerged(model)
    merge_low_rank(model, ["encoder.blocks.0.attention.key.weight"])


def hook(model):
    model.identity.output.register_forward_hook(lambda module, args, output: 2 * output)


def replaced_forward(model):
    model.content.linear.forward = lambda x: torch.nn.functional.linear(x, 3 * model.content.linear.weight)


@pytest.mark.parametrize(
    "change",
    [
        edit(change)
        for change in (
            optimizer_step,
            load_state,
            through_data,
            cast_and_back,
            new_parameter,
            value_path,
            low_rank_unmerged,
            low_rank_merged,
            hook,
            replaced_forward,
        )
    ],
)
def test_no_change_of_a_weight_leaves_a_stale_result(make_batch, debug, change):
    model, batch = debug(), make_batch()
    agrees(model, batch)
    before = plain(model, batch)
    change(model)
    assert (plain(model, batch) - before).abs().max() > 1e-6  # the change can be seen
    agrees(model, batch)


def test_a_parametrization_that_changes_without_its_parameters_is_seen(make_batch, debug):
    model, batch = debug(), make_batch()

    class Times(torch.nn.Module):
        factor = 1.0

        def forward(self, weight):
            return self.factor * weight

    times = Times()
    parametrize.register_parametrization(model.identity.linear, "weight", times)
    agrees(model, batch)
    times.factor = 2.0
    agrees(model, batch)


def test_layouts_in_turn_keep_apart(make_batch, debug):
    model = debug()
    other = make_batch()
    other.sensors.position_BC3[0, 0] += 0.01
    slower = make_batch()
    slower.interval_B[:] *= 2
    for _ in range(2):
        for batch in (make_batch(), other, slower, make_batch("fmri"), make_batch(patches=2), make_batch("meg")):
            agrees(model, batch)


def test_an_edited_result_is_not_used_again(make_batch, debug):
    model, batch = debug(), make_batch()
    expected = plain(model, batch)
    with torch.inference_mode():
        model.forward_features(batch)
        model.tokens(batch).identity_BND.mul_(2)
        torch.testing.assert_close(model.forward_features(batch), expected, rtol=0, atol=1e-12)


def test_threads_share_a_model_and_layouts(make_batch, debug):
    model = debug()
    batches = [make_batch(channels=channels) for channels in (3, 4, 5)] * 8
    expected = [plain(model, batch) for batch in batches]

    def run(batch):
        with torch.inference_mode():
            return model.forward_features(batch)

    with ThreadPoolExecutor(2) as pool:
        for found, wanted in zip(pool.map(run, batches), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_copies_and_files_hold_nothing_remembered(make_batch, debug):
    model = debug()
    with torch.inference_mode():
        model.forward_features(make_batch())
    assert len(model.remembered) == 2
    assert not len(copy.deepcopy(model).remembered)
    assert not len(pickle.loads(pickle.dumps(model)).remembered)
    assert not [name for name in model.state_dict() if "remembered" in name]


def test_memory_is_bounded_and_the_latest_stay(monkeypatch):
    remembered, made = Remembered(), []
    monkeypatch.setattr(remember, "LIMIT_BYTES", 4 * 80)

    def result(n, size=8):
        value = torch.full((2,), n)
        return remembered("x", lambda: made.append(n) or torch.zeros(size, dtype=torch.float64), [value])

    for n in (1, 2, 3, 4, 1, 5):  # 80 bytes each
        result(n)
    assert remembered.nbytes == 4 * 80
    result(1)
    assert made == [1, 2, 3, 4, 5]  # 2 went, as 1 was asked for later
    result(2)
    assert made == [1, 2, 3, 4, 5, 2]
    result(6, size=10**6)  # larger than all that may be held
    assert remembered.nbytes == 4 * 80  # takes nothing away
    monkeypatch.setattr(remember, "LIMIT_RESULTS", 2)
    result(7)
    assert len(remembered) <= 2
