"""Tables of studies in Markdown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from brainof.utils.console import markdown_table


def markdown(frame: pd.DataFrame, digits: int = 3) -> str:
    """A table as Markdown; missing values are empty."""

    def cell(value: Any) -> str:
        if isinstance(value, (float, np.floating)):
            return "" if not np.isfinite(value) else f"{value:.{digits}f}"
        return str(value)

    rows = frame.itertuples(index=False, name=None)
    return markdown_table([*map(str, frame)], ([*map(cell, row)] for row in rows))


def with_spread(mean: pd.Series, sd: pd.Series) -> list[str]:
    """`mean (sd)` of each row."""
    return [f"{m:.3f} ({s:.3f})" for m, s in zip(mean, sd, strict=True)]


def with_interval(frame: pd.DataFrame, low: str, high: str) -> pd.Series:
    """`gain [low, high]` of each row."""
    rows = frame[["gain", low, high]].itertuples(index=False)
    return pd.Series([f"{mean:+.3f} [{a:+.3f}, {b:+.3f}]" for mean, a, b in rows], index=frame.index)


def gain_columns(lines: pd.DataFrame) -> dict[str, Any]:
    """What a page says of gains: with their interval, in standard errors, and over people alone."""
    return {
        "gain": with_interval(lines, "low", "high"),
        "SE": lines["se"],
        "gain / SE": (lines["gain"] / lines["se"]).map("{:.1f}".format),
        "over people alone": [f"[{row.low_people:+.3f}, {row.high_people:+.3f}]" for row in lines.itertuples()],
    }
