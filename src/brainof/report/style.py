"""One look for all figures: colours, sizes, light axes; and figures as bytes for a page."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

#: Colours of Okabe and Ito, which stay apart for colour-blind readers
BLUE, ORANGE, GREEN, RED, GREY, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8A8F98", "#222222"
MODALITY_COLOURS = {"eeg": BLUE, "meg": RED, "fmri": GREEN}
MODALITY_NAMES = {"eeg": "EEG", "meg": "MEG", "fmri": "fMRI"}

_SETTINGS: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": BLACK,
    "axes.labelcolor": BLACK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9AA0A6",
    "axes.grid": True,
    "grid.color": "#B8BEC6",
    "grid.alpha": 0.4,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": "#5A6068",
    "ytick.color": "#5A6068",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "brainof",
    "font.family": "sans-serif",
}

#: Text and lines that are dark on paper are light on a dark screen; an image in a page follows the reader's setting
_DARK = """<style>text{font-family:"DejaVu Sans",Verdana,sans-serif}
@media (prefers-color-scheme:dark){text{fill:#e4e7eb!important}
[style*="stroke: #222222"],[style*="stroke: #000000"]{stroke:#e4e7eb!important}
[style*="fill: #222222"],[style*="fill: #000000"]{fill:#e4e7eb!important}
[style*="fill: #d55e00"]{fill:#ff9a5c!important}[style*="stroke: #5a6068"]{stroke:#a7b0bb!important}}</style>"""


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw a figure with the settings of the reports, without touching matplotlib's global state for good."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **options: P.kwargs) -> R:
        with mpl.rc_context(_SETTINGS):
            return draw(*args, **options)

    return drawn


def panels(
    n_rows: int, n_columns: int, width: float = 3.2, height: float = 2.3, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure that belongs to no window, and its axes (n_rows, n_columns); call it inside a `styled` function."""
    figure = Figure(figsize=(width * n_columns, height * n_rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, **options)
    return figure, axes


def png(figure: Figure) -> bytes:
    """The figure as PNG on white."""
    return _saved(figure, format="png", facecolor="white")


def svg(figure: Figure) -> bytes:
    """The figure as SVG without a ground, whose text is text and whose colours follow a dark screen."""
    made = _saved(figure, format="svg", facecolor="none", metadata={"Date": None, "Creator": None})
    _, start, rest = made.decode().partition("<svg ")
    tag, end, body = rest.partition(">")
    return f"{start}{tag}{end}{_DARK}{body}".encode()


def _saved(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context(_SETTINGS):
        figure.savefig(buffer, dpi=130, bbox_inches="tight", pad_inches=0.05, **options)
    figure.set_layout_engine("none")  # as it stands now, if another format is made
    return buffer.getvalue()


def say_empty(panel: Axes, text: str) -> None:
    """A sentence in place of data."""
    panel.set_axis_off()
    panel.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=panel.transAxes)
