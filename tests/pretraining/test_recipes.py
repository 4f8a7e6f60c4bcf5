from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from brainof.channels import Channels
from brainof.corpus import CorpusWriter, open_corpora
from brainof.errors import ConfigError
from brainof.model import BrainOF
from brainof.model.presets import PUBLISHED
from brainof.prepare import Window, default_chain
from brainof.pretraining import PretrainConfig, find_config, pretrain
from brainof.pretraining.objective import Objective
from brainof.pretraining.recipes import ablations, lines, recipe_names
from brainof.pretraining.run import Run, masking_of
from brainof.pretraining.run_folder import read_metrics

#: What makes any recipe small enough for a test; masks and objective stay as they are
SHRUNK = [
    *("steps=2", "batch_size=4", "accumulate=1", "max_tokens=64", "threads=1", "precision=float32"),
    *("health_grace=1", "health_margin=0", "sampling.validation=0"),
    *("model.dim=32", "model.sampler.heads=2", "model.sampler.latents=24", "model.sampler.interpolate_channels=4"),
    *("model.backbone.heads=2", "model.backbone.depth=2", "model.backbone.experts=4", "model.backbone.top_k=2"),
    *("model.backbone.hidden=16", "model.backbone.shared=16"),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    with CorpusWriter(root) as writer:
        for modality, kind, sfreq, n_channels in (
            ("eeg", "eeg", 256.0, 4),
            ("meg", "mag", 256.0, 5),
            ("fmri", "roi", 0.5, 6),
        ):
            order = np.arange(n_channels) if modality == "fmri" else None
            names = [f"{modality}{i}" for i in range(n_channels)]
            positions = rng.uniform(-0.1, 0.1, (n_channels, 3))
            channels = Channels(names, (kind,) * n_channels, positions=positions, order=order, frame="head")
            writer.add_dataset(modality, {"steps": default_chain(modality).to_steps()})
            for subject in "ab":
                row = {"dataset": modality, "modality": modality, "subject": subject, "sfreq": sfreq}
                row |= {"recording": subject, "config": subject}
                signals = rng.standard_normal((8, n_channels, 256)).astype(np.float32)
                writer.add(row, channels, [Window(x, float(k), {}, "pretrain") for k, x in enumerate(signals)])
    return root


def shrunk(name: str) -> PretrainConfig:
    config = find_config(name).replaced(SHRUNK, name)
    if "eegmat" in config.sampling.weights.get("dataset", {}):  # names the recordings it is for
        config = config.replaced(["sampling.weights={modality: equal}", "sampling.exclude=[]"], name)
    if config.whiten:
        config = config.replaced(["whiten=[fmri]"], name)
    return config.replaced(["objective.stimulus=[fmri]"], name) if config.objective.stimulus else config


#: Of ablations that need more outputs than the published model has
RECIPE_OF = {"bands": "per_output"}


@pytest.mark.parametrize(
    "name",
    [
        *recipe_names(),
        *(f"{RECIPE_OF.get(name, 'published')}+{name}" for name in ablations()),
        "per_output+bands+latent",
    ],
)
def test_every_recipe_and_ablation_trains(name, corpus, tmp_path):
    """Two steps, on a cut of its model, with what it says of masks and objective."""
    run = pretrain(shrunk(name), corpus, tmp_path / "run")
    rows = [row for row in read_metrics(run / "metrics.jsonl") if "loss" in row]
    assert rows
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert ("loss_connectivity" in rows[0]) == (find_config(name).objective.connectivity > 0)
    assert {row["modality"] for row in rows} <= set(find_config(name).sampling.modalities or ("eeg", "meg", "fmri"))


def test_a_recipe_has_the_name_of_the_preset_it_trains():
    for name in ("tiny", "per_output", *PUBLISHED):
        assert find_config(name).model["preset"] == name


@pytest.mark.parametrize("name", ["published", *PUBLISHED])
def test_the_published_family_has_the_published_objective(name):
    config = find_config(name)
    assert (config.objective.frequency, config.objective.predict, config.objective.terms) == ("raw", "all", {})
    assert 0 < config.objective.alpha < 1
    for modality in ("eeg", "meg", "fmri"):
        first = config.mask.at(0.0, modality)  # from step 0
        assert (first.unit, first.fourier_unit, first.fourier_ratio > 0) == ("segment", "component", True)
        assert 0.5 <= first.ratio <= 0.7
    model = config.architecture
    assert model.decoder.outputs == ("waveform",)
    assert model.sampler.initial_addressing == "tied"  # decision 0071
    assert model.sampler.latents == 128 or name == "published"


@pytest.mark.parametrize("name", ["published", *PUBLISHED])
def test_every_value_of_the_published_family_says_where_it_is_from(name):
    """On its line, if it is no name, interval or heading: what the publication states, and the source of all else."""
    text = resources.files("brainof.pretraining.recipes").joinpath(f"{name}.yaml").read_text()
    values = [line for line in text.splitlines() if ":" in line and not line.startswith("#")]
    names = ("like:", "model:", "preset:", "health_every:", "checkpoint_every:")
    bare = [line for line in values if "#" not in line and not line.strip().startswith(names)]
    assert [line for line in bare if not line.endswith(":")] == []
    if name == "published":
        named = {line.split(":")[0] for line in values}
        optimizer = {"optimizer", "lr", "warmup", "weight_decay", "betas", "clip", "balance_rate"}
        assert optimizer | {"steps", "batch_size", "max_tokens", "min_channels", "sampling"} <= named


def smooth_l1(a: np.ndarray) -> np.ndarray:
    a = np.abs(a)
    return np.where(a < 1, 0.5 * a**2, a - 0.5)


@pytest.mark.parametrize("modality", ["eeg", "meg", "fmri"])
def test_the_recipe_published_does_what_the_publication_says(modality, make_batch):
    """Sentence by sentence, from a batch to the loss, at step 0; regions are not in the order of the atlas."""
    config = find_config("published")
    torch.manual_seed(0)
    objective = Objective(BrainOF.from_preset("debug", decoder={"outputs": ["waveform"]}).eval(), config.objective)
    batch = make_batch(modality, n_channels=9, lengths=(640, 640))
    place = np.arange(9)
    if modality == "fmri":
        place = np.array([3, 0, 5, 8, 1, 7, 4, 2, 6])
        batch.sensors.order_BC[:] = torch.from_numpy(place)
    clean = batch.signal_BCT.double().numpy()
    masked = masking_of(config, 64).plan(batch, np.random.default_rng(0), progress=0.0)
    assert torch.equal(masked.batch.signal_BCT, batch.signal_BCT)  # the target is the clean signal of all channels

    # Fourier components are masked: along time of each channel, or across ordered regions at each time point ...
    ordered = np.argsort(place)
    axis = 1 if modality == "fmri" else 2
    before = np.fft.rfft(clean[:, ordered], axis=axis)
    # ... and transformed back
    after = np.fft.rfft(masked.seen_BCT.double().numpy()[:, ordered], axis=axis)
    gone = np.abs(after) < 1e-4 * np.abs(before).max()
    np.testing.assert_allclose(after, np.where(gone, 0, before), atol=1e-3)
    others = 3 - axis
    removed = gone.all(axis=others)
    np.testing.assert_array_equal(gone.any(axis=others), removed)  # whole components
    used = 9 // 2 + 1 if modality == "fmri" else int(45 * 640 / 256) + 1
    assert removed[:, :used].sum(1).tolist() == [round(config.mask.fourier_ratio * used)] * 2
    assert not removed[:, used:].any()

    # then temporal segments: the same patches of all channels
    visible = np.zeros((2, 9 * 10), bool)
    np.put_along_axis(visible, masked.visible_BV.numpy(), True, 1)
    visible = visible.reshape(2, 9, 10)
    assert (visible == visible[:, :1]).all()
    assert (~visible[:, 0]).sum(1).tolist() == [7, 7]

    # waveform and components are reconstructed everywhere, (1 - alpha) L_time + alpha L_freq
    assert torch.equal(masked.predicted_BH, torch.arange(90).expand(2, -1))
    with torch.no_grad():
        tokens = objective.model.tokens(masked.batch)
        made = objective.decode(masked, tokens, objective.encode(masked, tokens))["waveform"].double().numpy()
        found = objective(masked, masked.counts, progress=0.0)["loss"].item()
    difference = made.reshape(2, 9, 640) - clean
    components = np.fft.rfft(difference[:, ordered], axis=axis, norm="ortho")
    frequency = np.mean([smooth_l1(components.real), smooth_l1(components.imag)])
    alpha = config.objective.alpha
    assert found == pytest.approx((1 - alpha) * smooth_l1(difference).mean() + alpha * frequency, rel=1e-5)

    # so that what the Fourier mask removed is a target where it was removed, which is about a third in visible patches
    energy = ((clean - masked.seen_BCT.double().numpy()) ** 2).reshape(2, 9, 10, 64).sum(-1)
    assert 0.2 < energy[visible].sum() / energy.sum() < 0.4
    predicted = np.zeros((2, 90), bool)
    np.put_along_axis(predicted, masked.predicted_BH.numpy(), True, 1)
    assert energy[predicted.reshape(2, 9, 10)].sum() == pytest.approx(energy.sum())


def test_a_recipe_may_be_like_another(tmp_path, corpus):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("like: base\nmodel: {sampler: {latents: 96}}\nsteps: 5\n")
    mine, base = find_config(recipe), find_config("base")
    assert mine.model == {**base.model, "sampler": {"latents": 96}}
    assert (mine.steps, mine.mask, mine.lr) == (5, base.mask, base.lr)
    recipe.write_text("like: bass\n")
    with pytest.raises(ConfigError, match="no such pretraining recipe; did you mean 'base'"):
        pretrain(recipe, corpus, tmp_path / "run")


def test_recipes_go_with_other_presets_or_say_what_to_set(corpus, tmp_path):
    corpora = open_corpora(corpus)
    for recipe, name in (("published", "debug"), ("published", "base"), ("tiny", "base")):
        run = Run(find_config(recipe).replaced([f"model.preset={name}"]), corpora, tmp_path)
        assert run.model.config.dim == PretrainConfig.parse({"model": {"preset": name}}).architecture.dim
    with pytest.raises(ConfigError) as refused:
        Run(find_config("per_output").replaced(["model.preset=debug"]), corpora, tmp_path)
    words = [word.rstrip(",") for word in str(refused.value).split() if word.startswith("model.") and "=" in word]
    outputs = str(refused.value).split("model.decoder.outputs=")[1].split("]")[0] + "]"
    changes = ["model.preset=debug", f"model.decoder.outputs={outputs}", "model.tokens.connectivity=true"]
    assert len(words) == 2
    Run(find_config("per_output").replaced(changes), corpora, tmp_path)


def test_single_modalities_and_token_budgets(corpus, tmp_path):
    run = Run(shrunk("published+meg_only"), open_corpora(corpus), tmp_path)
    assert set(run.train_rows["modality"]) == {"meg"}
    run = Run(shrunk("published").replaced(["tokens_per_batch=40"]), open_corpora(corpus), tmp_path)
    tokens = {"eeg": 16, "meg": 20, "fmri": 24}
    sizes = {run.corpora.batch(rows[:1], patch=64).modality: len(rows) for rows in run.sampler.batches(0)}
    assert sizes == {name: 40 // count for name, count in tokens.items()}


def test_the_list_has_a_line_for_each():
    text = list(lines())
    assert len([line for line in text if line]) == len(recipe_names()) + len(ablations()) + 1
    assert all(len(line) < 160 for line in text)


def test_unknown_names_are_named():
    with pytest.raises(ConfigError, match="did you mean 'tiny'"):
        find_config("tinny")
    with pytest.raises(ConfigError, match="softmac: no such ablation; did you mean 'softmax'"):
        find_config("published+softmac")
