"""One look for all figures: colours, sizes, light axes; and figures as bytes for a page."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

#: Colours of Okabe and Ito, which stay apart for colour-blind readers
BLUE, ORANGE, GREEN, RED, GREY, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8A8F98", "#222222"
MODALITY_COLOURS = {"eeg": BLUE, "meg": RED, "fmri": GREEN}
MODALITY_NAMES = {"eeg": "EEG", "meg": "MEG", "fmri": "fMRI"}

_SETTINGS: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9AA0A6",
    "axes.grid": True,
    "grid.color": "#E6E8EB",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": "#50555B",
    "ytick.color": "#50555B",
    "legend.frameon": False,
    "svg.fonttype": "none",
}


def panels(
    n_rows: int, n_columns: int, width: float = 3.2, height: float = 2.3, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of panels in the style of the reports, without touching matplotlib's global state.

    Returns
    -------
    figure : Figure
    axes : ndarray of Axes, shape (n_rows, n_columns)
    """
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(width * n_columns, height * n_rows), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(n_rows, n_columns, squeeze=False, **options)
    return figure, axes


def hide_unused(axes: Iterable[Axes]) -> None:
    """Take away panels that hold nothing."""
    for panel in axes:
        panel.set_axis_off()


def png(figure: Figure, dpi: int = 130) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    with mpl.rc_context(_SETTINGS):
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def say_empty(panel: Axes, text: str) -> None:
    """A sentence in place of data."""
    panel.set_axis_off()
    panel.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=panel.transAxes)
