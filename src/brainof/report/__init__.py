"""Figures, tables and one self-contained HTML page per run."""

from __future__ import annotations
