"""Every explanation has a figure that says whether it beats its nulls, and a place in a page."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from brainof.channels import Channels
from brainof.cli import main
from brainof.explain.attention import Attended, DintParts
from brainof.explain.effects import EffectMap
from brainof.explain.embedding import EmbeddingMap, Factor
from brainof.explain.experts import ExpertUsage
from brainof.explain.reconstruction import Example, Reconstruction
from brainof.explain.similarity import Similarity
from brainof.report.explanations import caption, stored_section, write_explanations
from brainof.report.maps import _waveforms, draw, topomap
from brainof.report.style import panels, svg

ABOUT = {"name": "made", "modality": "eeg", "windows": 8, "unit": "subjects", "task": "rest"}
RNG = np.random.default_rng(0)


def sensors(n: int = 8, kind: str = "eeg") -> Channels:
    angle = np.linspace(0, 6, n)
    places = np.stack([0.08 * np.cos(angle), 0.08 * np.sin(angle), np.full(n, 0.07)], 1)
    frame, scale = ("mni", 0.5) if kind == "roi" else ("head", 1.0)
    return Channels(tuple(f"E{i}" for i in range(n)), (kind,) * n, positions=places * scale, frame=frame)


def effects(p: float = 0.01, by: str = "channel", channels: Channels | None = None) -> EffectMap:
    n = 8
    values = np.linspace(0, 1, n)
    ends = (values - 0.1, values + 0.1)
    return EffectMap(
        by, tuple(f"E{i}" for i in range(n)), values, *ends, "loss of evidence (SD)", "subjects", 6,
        untrained=values / 2, p_untrained=np.full(n, p), p_labels=np.full(n, p), labels_95=0.3, about=ABOUT,
        channels=channels,
    )  # fmt: skip


def reconstruction(modality: str) -> Reconstruction:
    kind = {"eeg": "eeg", "meg": "mag", "fmri": "roi"}[modality]
    channels = sensors(kind=kind)
    examples = []
    for _ in range(4):
        hidden = np.repeat(RNG.random((8, 4)) < 0.6, 32, axis=1)
        true = RNG.standard_normal((8, 128))
        examples.append(Example(modality, true, 0.5 * true, hidden, 64.0, channels.names))
    r2 = np.array([each.r2 for each in examples])
    return Reconstruction(examples, channels, {**ABOUT, "modality": modality}, r2, r2 - 0.5, r2 - 0.4, 0.06)


def attended(modality: str, kind: str) -> Attended:
    weights = RNG.random((5, 8, 4))
    reach = np.linspace(2, 6, 5)
    return Attended(weights, np.ones(5), sensors(kind=kind), 0.5, modality, ABOUT, reach, reach, 0.5)


ALL = {
    "channel": lambda: effects(channels=sensors()),
    "regions of fMRI": lambda: effects(channels=sensors(kind="roi")),
    "band": lambda: effects(by="band"),
    "nowhere": lambda: effects(channels=Channels(tuple("abcdefgh"), ("eeg",) * 8)),
    "attention": lambda: attended("meg", "mag"),
    "dint": lambda: DintParts(
        {name: RNG.random((2, 5, 5)) for name in ("A1", "lam A2", "lam G", "A")}, np.array([0.2, 0.3]),
        np.ones((2, 4)), np.ones((2, 4)), 0.5, ABOUT),
    "experts": lambda: ExpertUsage(
        np.full((2, 2, 4), 0.25), ("a (eeg)", "b (meg)"), (0, 1), np.zeros(2), np.zeros(2), np.zeros(2), np.ones(2)),
    "eeg": lambda: reconstruction("eeg"),
    "meg": lambda: reconstruction("meg"),
    "fmri": lambda: reconstruction("fmri"),
    "embedding": lambda: EmbeddingMap(
        {"pca": RNG.random((8, 2))}, [Factor("label", np.array(list("aabbaabb")), 0.1, 0.2, 0.5, 0.3)], ABOUT,
        (0.4, 0.2)),
    "similarity": lambda: Similarity("eeg", "meg", np.eye(3), np.eye(3), np.eye(3), 0.2, 0.5, 8),
}  # fmt: skip


def words(figure: Figure) -> str:
    texts = [text.get_text() for text in figure.findobj(Text)]
    return " ".join(" ".join(texts).split())


@pytest.mark.parametrize("name", ALL)
def test_every_map_has_a_figure_that_says_its_verdict(name):
    found = ALL[name]()
    figure = draw(found)
    if hasattr(found, "verdict"):
        assert " ".join(found.verdict.split()) in words(figure)
        assert found.verdict[0].upper() + found.verdict[1:] in caption(found)
    ElementTree.fromstring(svg(figure))  # well formed
    json.dumps(found.to_dict(), allow_nan=False)


def test_reconstruction_is_drawn_where_it_was_hidden_only():
    true, made = np.zeros((6, 128)), np.ones((6, 128))
    hidden = np.zeros((6, 128), bool)
    hidden[0, :64] = True
    figure, axes = panels(1, 1)
    _waveforms(axes[0, 0], Example("eeg", true, made, hidden, 64.0, list("abcdef")))
    drawn = axes[0, 0].lines[0].get_ydata()
    assert np.isfinite(drawn[:64]).all()
    assert np.isnan(drawn[64:]).all()
    assert [label.get_text() for label in axes[0, 0].get_yticklabels()] == list("acdf")


def test_a_map_that_loses_says_so_on_the_figure():
    assert "DOES NOT BEAT ITS NULL (random weights and permuted labels)" in words(draw(effects(p=0.5)))
    assert "beats its null" in words(draw(effects(p=0.01)))
    figure = draw(ALL["embedding"]())
    assert "DOES NOT BEAT ITS NULL (permuted labels and random weights)" in words(figure)


def test_sensors_at_one_place_and_without_a_place():
    table = sensors(6)
    twice = Channels(
        tuple("abcdefg"),
        ("grad",) * 7,
        positions=[*table.positions[:5], table.positions[0], [np.nan] * 3],
        frame="head",
    )
    figure, axes = panels(1, 1)
    topomap(axes[0, 0], np.arange(7.0), twice)
    assert "1 sensor without a position" in words(figure)
    figure, axes = panels(1, 1)
    topomap(axes[0, 0], np.arange(3.0), Channels(tuple("abc"), ("eeg",) * 3))
    assert "0 of 3 sensors have a position" in words(figure)


def test_a_folder_of_explanations_is_read_back(tmp_path):
    write_explanations(iter([effects(channels=sensors()), ALL["experts"]()]), tmp_path / "x", model="m")
    section = stored_section(tmp_path / "x")
    assert len(section.images) == 2
    assert section.images[0].figure.startswith(b"<svg")
    entry = json.loads((tmp_path / "x" / "explain.json").read_text())["maps"][0]
    assert entry["beats_nulls"] == [True] * 8


def test_the_command_on_a_file_of_ones_own(tmp_path, capsys):
    """Unknown positions: no topography and no region, said in one line; the page is made all the same."""
    np.savez(tmp_path / "own.npz", eeg=RNG.standard_normal((4, 256 * 24)) * 1e-5)
    command = ["explain", "debug", str(tmp_path / "own.npz"), "--out", str(tmp_path / "out"), "--untrained", "1"]
    command += [
        "--modality",
        "eeg",
        "--sfreq",
        "256",
        "--units",
        "V",
        "--what",
        "channel",
        "region",
        "experts",
        "--permutations",
        "20",
    ]
    assert main(command) == 0
    out = capsys.readouterr()
    assert "its weights are RANDOM" in out.err
    assert "region is left out" in out.err
    assert "positions are unknown" in out.err
    assert "2 maps" in out.out
    page = (tmp_path / "out" / "explain.html").read_text()
    assert 'class="lead">Maps that beat their nulls: 0; that do not: 1 (channel); that could not be tested: 1' in page
    assert main([*command[:-3], "chanel"]) == 2
    assert "did you mean 'channel'" in capsys.readouterr().err
    assert main([*command[:-5], "experts"]) == 0  # the same model and source
    np.savez(tmp_path / "other.npz", eeg=RNG.standard_normal((4, 256 * 24)) * 1e-5)
    for place, value in ((1, "tiny"), (2, str(tmp_path / "other.npz"))):
        other = [*command[:place], value, *command[place + 1 :]]
        capsys.readouterr()
        assert main(other) == 2
        err = capsys.readouterr().err.splitlines()[-1]
        assert (
            f"holds maps of {'model' if place == 1 else 'source'} {command[place]}, not {value}; give another --out"
            in err
        )
