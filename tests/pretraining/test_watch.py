"""Early warnings: a rising loss and a collapsing router are said once, noise and falling losses are not."""

from __future__ import annotations

import numpy as np
import pytest

from brainof.errors import HealthError
from brainof.pretraining.watch import Watch


def row(modality: str, loss: float, step: int = 0, **more) -> dict:
    return {"step": step, "modality": modality, "dataset": "d", "loss": loss, "batches": 2, **more}


def test_a_modality_whose_loss_rises_is_named_once():
    watch, found = Watch(), []
    for step in range(40):
        falls, rises = 1.0 - 0.01 * step, 1.0 - 0.02 * step if step < 20 else 0.6 + 0.05 * (step - 20)
        found += watch.look([row("eeg", falls), row("fmri", rises)])
    assert len(found) == 1
    assert found[0].startswith("the loss of fmri rises: ")


def test_noise_warns_of_nothing():
    rng = np.random.default_rng(0)
    watch = Watch()
    assert not any(watch.look([row("meg", 1 + 0.1 * rng.standard_normal())]) for _ in range(200))


def test_a_collapsing_router_is_said_until_it_has_passed():
    watch = Watch()
    found = [watch.look([row("eeg", 1.0, idle_experts=idle)]) for idle in (0.0, 0.75, 0.8, 0.1, 0.75)]
    assert [len(each) for each in found] == [0, 1, 0, 0, 1]
    assert found[1] == ["the router collapses: 75 % of the experts of one layer are nearly unused"]


def test_a_continued_run_goes_on_from_its_rows():
    losses = [1.0 - 0.02 * step for step in range(20)] + [1.5] * 10
    whole = Watch()
    expected = [whole.look([row("eeg", loss, step)]) for step, loss in enumerate(losses)]
    before = [row("eeg", loss, step) for step, loss in enumerate(losses[:22])] + [{"step": 3, "health": {}}]
    continued = Watch(before)
    assert [continued.look([row("eeg", loss)]) for loss in losses[22:]] == expected[22:]
    assert sum(map(len, expected)) == 1


@pytest.mark.parametrize("flat", [{"rank": 1.5, "latent_cosine": 0.3}, {"rank": 9.0, "latent_cosine": 0.995}])
def test_latents_that_collapse_in_two_logs_warn_once_and_fail_the_next_check(flat):
    watch, good = Watch(), {"rank": 9.0, "latent_cosine": 0.3}
    found = []
    for figures in (good, flat, good, {}, flat, {}):
        found += watch.look([row("eeg", 1.0, **figures)])
        watch.require_latents()
    assert found == []
    found = [watch.look([row("eeg", 1.0, **flat)]) for _ in range(2)]
    text = f"the latents collapse: effective rank {flat['rank']:.2f}, mean pairwise cosine {flat['latent_cosine']:.3f}"
    assert found == [[text], []]
    with pytest.raises(HealthError, match=text):
        watch.require_latents()
    watch.look([row("eeg", 1.0, **good)])
    watch.require_latents()
