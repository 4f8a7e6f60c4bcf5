from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from brainof.report.results import scores
from brainof.report.style import png
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


def score_rows() -> list[dict]:
    about = {"task": "rest", "modality": "eeg", "split": "subject", "n_groups": 3}
    shared = {**about, "level": "window", "metric": "balanced_accuracy"}
    rows: list[dict] = []
    for name, value in (("chance", 0.5), ("pretrained", 0.7), ("band power", 0.6)):
        row = {**shared, "features": name, "recentred": False}
        rows.append({**row, "row": "score", "score": value, "group_score": value, "group_se": 0.05, "chance": 0.5})
        rows += [{**row, "row": "group", "group": str(i), "score": value + 0.1 * i} for i in range(3)]
    rows[4]["null_95"] = 0.58
    return rows


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
    figure = scores(score_rows())
    panel = figure.axes[0]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["band power", "pretrained"]
    assert [
        float(container.lines[0].get_xdata()[0]) for container in panel.containers if hasattr(container, "lines")
    ] == [
        0.7,
        0.6,
    ][::-1]
    assert panel.get_title() == "rest (EEG, 3 subjects, by subject)"


@pytest.mark.parametrize("draw", [loss_curves, explained_variance, expert_load, scores])
def test_nothing_to_draw_is_a_figure_that_says_so(draw):
    figure = draw([])
    assert figure.axes[0].texts[0].get_text().startswith("no ")
    assert png(figure)[:8] == b"\x89PNG\r\n\x1a\n"


def test_global_settings_are_left_alone():
    before = mpl.rcParams["axes.grid"]
    loss_curves(training_rows())
    assert mpl.rcParams["axes.grid"] == before
