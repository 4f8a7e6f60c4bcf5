"""Threads that share the windows of a step give the gradients of one thread."""

from __future__ import annotations

import platform
import resource

import numpy as np
import pytest
import torch
from torch import nn

from brainof.model import BrainOF
from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.masking import Masking
from brainof.pretraining.objective import Objective
from brainof.pretraining.trainer import GradientThreads


@pytest.fixture
def threads():
    """Two processors' worth of threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


PER_OUTPUT = {
    "tokens": {"connectivity": True},
    "sampler": {"latents": 12},
    "decoder": {"kind": "per_output", "outputs": ["waveform", "log_spectrum", "connectivity"]},
}


@pytest.mark.parametrize("fields", [{}, PER_OUTPUT], ids=["default", "per_output"])
def test_gradients_and_counts_equal_those_of_one_thread(threads, make_batch, fields):
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", **fields).double().train()
    objective = Objective(model, ObjectiveConfig(connectivity=1.0 if fields else 0.0))
    masked = Masking(MaskConfig(), 64, differences=bool(fields)).plan(make_batch(n_windows=5), np.random.default_rng(0))
    found = []
    for count in (1, 2, 5):
        model.zero_grad()
        for block in model.blocks:
            nn.init.zeros_(block.ffn.load_ME)
        team = GradientThreads(list(model.parameters()), count)
        results = team.backward(masked.split(count), lambda part: objective(part, masked.counts))
        team.close()
        assert len(results) == min(count, 5)
        assert not any(losses[name].requires_grad for losses in results for name in objective.terms)
        gradients = [p.grad for p in model.parameters()]
        loads = [block.ffn.load_ME.clone() for block in model.blocks]
        found.append((sum(losses["loss"].item() for losses in results), gradients, loads))
    for value, gradients, loads in found[1:]:
        assert value == pytest.approx(found[0][0], rel=1e-6)  # losses are float32
        for a, b in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)
        assert all(torch.equal(a, b) for a, b in zip(loads, found[0][2], strict=True))


def test_the_sum_does_not_depend_on_who_is_done_first(threads):
    """A thread that sleeps in the first job must not change the order in which gradients are added."""
    import time

    weight = nn.Parameter(torch.ones(3))
    factors = [1e8, 1.0, -1e8, 1.0]  # float32 sums of these depend on their order
    sums = []
    for slow in (0, 3):
        weight.grad = None
        team = GradientThreads([weight], 2)

        def loss(i, slow=slow):
            time.sleep(0.02 * (i == slow))
            return {"loss": (factors[i] * weight).sum(), "number": torch.tensor(i)}

        assert [losses["number"].item() for losses in team.backward(range(4), loss)] == [0, 1, 2, 3]
        team.close()
        sums.append(weight.grad.clone())
    assert torch.equal(*sums)


def test_threads_of_operators_are_restored_and_errors_arrive(threads):
    weight = nn.Parameter(torch.ones(1))
    team = GradientThreads([weight], 2)
    (losses,) = team.backward([1.0], lambda job: {"loss": job * weight.sum() * torch.get_num_threads()})
    assert losses["loss"] == 1
    assert torch.get_num_threads() == 2  # the caller waits for the jobs, so that its own operators may have all
    with pytest.raises(ZeroDivisionError):
        team.backward([0], lambda job: {"loss": 1 / job})
    team.close()
    assert torch.get_num_threads() == 2


def test_a_gradient_that_two_parameters_share_is_not_added_twice(threads):
    """Autograd hands one tensor to both sides of a sum."""
    one, two = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    team = GradientThreads([one, two], 2)
    team.backward([1.0, 2.0], lambda factor: {"loss": (factor * (one + two)).sum()})
    team.close()
    assert one.grad.tolist() == two.grad.tolist() == [3.0] * 3


def test_one_thread_goes_through_backward_so_that_hooks_fire():
    weight, seen = nn.Parameter(torch.ones(1)), []
    weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.item()))
    GradientThreads([weight], 1).backward([3.0], lambda factor: {"loss": (factor * weight).sum()})
    assert seen == [3.0]


def test_frozen_and_unused_parameters_get_no_gradient(threads):
    used, frozen, unused = (nn.Parameter(torch.ones(1)) for _ in range(3))
    frozen.requires_grad_(False)
    team = GradientThreads([used, frozen, unused], 2)
    team.backward([1.0, 2.0], lambda factor: {"loss": (factor * used * frozen).sum()})
    team.close()
    assert used.grad.tolist() == [3.0]
    assert frozen.grad is None
    assert unused.grad is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_a_step_frees_is_not_given_back():
    """Pages that the kernel has to clear anew (page faults) when 80 MB are freed and asked for again."""

    def step() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        held = [torch.ones(5_000_000) for _ in range(4)]
        del held
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    team = GradientThreads([], 1)
    faults = [step() for _ in range(4)]
    team.close()
    assert min(faults) < 2_000 < 80e6 / resource.getpagesize(), faults
