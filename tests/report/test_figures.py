from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from brainof.report.folders import whole
from brainof.report.results import scores
from brainof.report.style import BLACK, BLUE, png
from brainof.report.training import expert_load, explained_variance, loss_curves


def training_rows() -> list[dict]:
    rows: list[dict] = []
    for step in range(10, 101, 10):
        for dataset, modality in (("eegmat", "eeg"), ("muse", "eeg"), ("stages", "fmri")):
            loss = {"eegmat": 0.2, "muse": 0.4, "stages": 1.0}[dataset]
            row = {"step": step, "dataset": dataset, "modality": modality, "loss_time": loss, "loss_frequency": None}
            rows.append({**row, "max_vio": 0.5, "max_vio/eeg": 0.3})
    health = {"modality": "eeg", "r2": 0.4, "r2_shuffled": -3.0, "r2_log_spectrum": None}
    rows.append({"step": 100, "health": {"eegmat": health, "muse": {**health, "r2": 0.1}}})
    return rows


def evaluation() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Summary and results of three people."""
    about = {"task": "rest", "modality": "eeg", "readout": "ridge", "metric": "balanced_accuracy", "n_people": 3}
    lines, people = [], []
    for name, kind, option, value in (
        ("chance", "chance", "plain", 0.5),
        ("mine", "model", "plain", 0.7),
        ("mine", "model", "erased", 0.4),
        ("mine", "model", "recentred", 0.8),
        ("band power", "classical", "plain", 0.6),
    ):
        own = {**about, "entry": name, "kind": kind, "option": option, "transductive": option == "recentred"}
        lines.append({**own, "score": value, "low": value - 0.05, "high": value + 0.1, "chance": 0.5})
        people += [{**own, "dataset": "d", "subject": str(i), "score": value + 0.1 * i} for i in range(3)]
    lines.append({**lines[1], "readout": "lora", "score": 0.9})
    lines[1]["null_95"] = 0.58
    return pd.DataFrame(lines), pd.DataFrame(people)


def lines_of(figure, panel: int = 0) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_ydata() for line in figure.axes[panel].lines}


def test_losses_are_averaged_over_the_datasets_of_a_modality():
    curves = lines_of(loss_curves(training_rows()))
    np.testing.assert_allclose(curves["EEG"], 0.3)
    np.testing.assert_allclose(curves["fMRI"], 1.0)
    assert "MEG" not in curves


def test_a_loss_that_was_not_logged_is_said():
    texts = [text.get_text() for text in loss_curves(training_rows()).axes[1].texts]
    assert texts == ["no spectrum loss was logged"]


def test_explained_variance_has_a_panel_per_dataset_and_both_lines():
    figure = explained_variance(training_rows())
    assert [panel.get_title() for panel in figure.axes] == ["eegmat (EEG)", "muse (EEG)"]
    curves = lines_of(figure)
    assert curves["waveform"] == [0.4]
    assert curves["waveform, shuffled latents"] == [-0.5]  # cut off at the edge of the panel
    assert "log spectrum" not in curves


def test_expert_load_shows_each_modality_that_was_logged():
    curves = lines_of(expert_load(training_rows()))
    np.testing.assert_allclose(curves["EEG"], 0.3)
    np.testing.assert_allclose(curves["all"], 0.5)


def test_scores_stand_at_their_value_in_the_order_given():
    """The first read-out of each, recentred features last; erased ones stand in the table alone."""
    figure = scores(*evaluation())
    panel = figure.axes[0]
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names == ["mine (recentred)", "band power", "mine"]
    drawn = [container for container in panel.containers if hasattr(container, "lines")]
    assert [float(each.lines[0].get_xdata()[0]) for each in drawn] == [0.8, 0.6, 0.7]
    assert [each.lines[0].get_markerfacecolor() for each in drawn] == ["white", BLACK, BLUE]
    ends = [[float(cap.get_xdata()[0]) for cap in each.lines[1]] for each in drawn]
    np.testing.assert_allclose(ends, [[0.75, 0.9], [0.55, 0.7], [0.65, 0.8]])
    ticks = [line.get_xdata() for line in panel.lines if line.get_marker() == "|" and len(line.get_xdata()) == 3]
    np.testing.assert_allclose(ticks[0], [0.8, 0.9, 1.0])
    (shade,) = panel.patches
    assert (shade.get_x(), shade.get_width()) == (0.5, pytest.approx(0.08))
    assert panel.get_title() == "rest (EEG, n = 3)"


def test_an_older_summary_without_intervals_is_drawn():
    lines, _ = evaluation()
    bare = lines.drop(columns=["low", "high", "null_95", "modality", "n_people", "transductive"])
    panel = scores(whole(bare), pd.DataFrame()).axes[0]
    assert panel.get_title() == "rest"


@pytest.mark.parametrize(
    "draw", [loss_curves, explained_variance, expert_load, lambda _: scores(*(table[:1] for table in evaluation()))]
)
def test_nothing_to_draw_is_a_figure_that_says_so(draw):
    figure = draw([])
    assert figure.axes[0].texts[0].get_text().startswith("no ")
    assert png(figure)[:8] == b"\x89PNG\r\n\x1a\n"


def test_global_settings_are_left_alone():
    before = mpl.rcParams["axes.grid"]
    loss_curves(training_rows())
    assert mpl.rcParams["axes.grid"] == before
