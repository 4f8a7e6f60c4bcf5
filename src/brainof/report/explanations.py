"""Explanations on disk: one PNG per map, `explain.json` with the numbers, and one page; and read back for a report."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..errors import ConfigError
from ..explain.attention import Attended, DintParts
from ..explain.effects import EffectMap
from ..explain.embedding import EmbeddingMap
from ..explain.experts import ExpertUsage
from ..explain.reconstruction import Reconstruction
from ..explain.similarity import Similarity
from ..utils.files import make_folder, parse_json, write_atomically, write_json
from .maps import draw
from .page import Image, Section
from .style import png, svg

log = logging.getLogger(__name__)

FILE = "explain.json"

_HIDDEN = "Each {} is hidden from the model, which was made for windows that lack patches."
#: What a map of effects is by -> what was done
_DONE = {
    **{name: _HIDDEN.format(name) for name in ("channel", "region", "network")},
    "time": _HIDDEN.format("stretch of time"),
    "band": "The Fourier components of each band are taken out of the signal.",
    "gradient": "Share of each channel in the absolute integrated gradients.",
    "modality": "What each modality adds to the accuracy, over all orders in which modalities may arrive.",
}
#: Class -> (short name, what the figure shows)
ABOUT: dict[type, tuple[str, str]] = {
    EffectMap: ("occlusion", "Blue beats every null it was held against, corrected over all parts."),
    Attended: (
        "attention",
        "Attention of the sampler's last block, mean over heads and windows, of the four latents that attend to the "
        "fewest channels; thin lines: each latent over time, thick: their mean.",
    ),
    DintParts: (
        "dint",
        "Self-attention of the latents, A = A1 - λ A2 + λ G, in the first and last layer; mean over heads and windows.",
    ),
    ExpertUsage: (
        "experts",
        "Share of the tokens that the router sends to each expert; right: bits that a choice gives about the dataset.",
    ),
    Reconstruction: (
        "reconstruction",
        "Black: signal, in SD of the recording. Colour: what the model puts into hidden patches. "
        "R2 of 1 is perfect, of 0 no better than zeros. FC: functional connectivity over hidden samples.",
    ),
    EmbeddingMap: (
        "embedding",
        "Each dot is a window. Percentages on the axes: variance along them; above: variance of all features that lies "
        "between the values of a factor.",
    ),
    Similarity: (
        "similarity",
        "Unbiased linear CKA of mean latents, and rank correlation of the distances between windows (RSA); 1 is equal.",
    ),
}


def caption(found: Any) -> str:
    """What a figure shows, its units and lines, and whether it beats its nulls."""
    _, text = ABOUT[type(found)]
    if isinstance(found, EffectMap):
        shown = [f"Dot: mean effect, {found.measure}", f"bar: its 95 % interval over {found.unit}"]
        shown += ["diamond: the same architecture with random weights"] * (found.untrained is not None)
        shown += ["dotted: 95 % of the largest effects with permuted labels"] * (found.labels_95 is not None)
        text = f"{_DONE[found.by]} {'; '.join(shown)}. {text}"
        if "evidence" in found.about:
            text += f" Intact windows: evidence {found.about['evidence']:.2f} (p = {found.about['p_evidence']:.3g})."
    verdict = getattr(found, "verdict", "")
    verdict = verdict[:1].upper() + verdict[1:]
    notes = "; ".join(getattr(found, "notes", ()))
    return " ".join(part for part in (text, f"{verdict}." if verdict else "", f"{notes}." if notes else "") if part)


def write_explanations(found: Iterable[Any], out: Path, **about: Any) -> list[tuple[Any, Figure]]:
    """Draw and save each explanation of `brainof.explain.explain` as it comes; `explain.json` holds those made so far.

    `about` is what the file says of itself: model, source, seed, command.
    """
    make_folder(out)
    made: list[tuple[Any, Figure]] = []
    entries: list[dict[str, Any]] = []
    for each in found:
        figure = draw(each)
        name = ABOUT[type(each)][0] if not isinstance(each, EffectMap) else f"{each.by}"
        path = out / f"{len(entries) + 1:02d}_{name}.png"
        write_atomically(path, [png(figure)])
        write_atomically(path.with_suffix(".svg"), [svg(figure)])
        made.append((each, figure))
        entries.append({"figure": path.name, "caption": caption(each), **each.to_dict()})
        write_json(out / FILE, {"format": "brainof-explain", "version": 1, **about, "maps": entries})
    if not made:
        raise ConfigError("nothing could be explained", field="source", fix="see the lines above for what is missing")
    return made


def lead(made: list[tuple[Any, Figure]]) -> str:
    """The first sentence of the page: which maps beat their nulls."""
    groups: dict[str, list[str]] = {"won": [], "lost": [], "untested": []}
    for each, _ in made:
        if verdict := getattr(each, "verdict", ""):
            kind = "lost" if "DOES NOT BEAT" in verdict else "won" if verdict.startswith("beats") else "untested"
            groups[kind].append(getattr(each, "by", ABOUT[type(each)][0]))
    names = {kind: f" ({', '.join(dict.fromkeys(found))})" if found else "" for kind, found in groups.items()}
    won, lost, untested = (f"{len(found)}{names[kind]}" for kind, found in groups.items())
    return f"Maps that beat their nulls: {won}; that do not: {lost}; that could not be tested: {untested}."


def explanation_section(made: list[tuple[Any, Figure]], title: str = "Explanations") -> Section:
    """Figures as they were drawn."""
    return Section(title, _text(), [Image(figure, caption(each), _alt(each)) for each, figure in made])


def stored_section(folder: Path) -> Section:
    """Figures of a folder that `write_explanations` made; a ConfigError where it holds none, or is damaged."""
    try:
        found = parse_json((folder / FILE).read_text())
        images = [
            Image(_figure(folder, entry["figure"]), entry["caption"], entry.get("verdict", ""))
            for entry in found["maps"]
            if (folder / Path(entry["figure"]).name).is_file()
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"is damaged ({error})", file=folder / FILE, fix="run brainof explain again") from None
    return Section(f"What a model uses: {found.get('model') or folder.name}", _text(), images)


def _figure(folder: Path, name: str) -> bytes:
    """The SVG, which follows a dark screen; the PNG where it is gone."""
    path = folder / Path(name).name
    drawn = path.with_suffix(".svg")
    return (drawn if drawn.is_file() else path).read_bytes()


def _alt(found: Any) -> str:
    if isinstance(found, EffectMap):
        top = found.to_frame().iloc[0]
        return f"Effects by {found.by}; largest: {top[found.by]}, {top['effect']:.3g}. {found.verdict}"
    return f"{ABOUT[type(found)][0]}. {getattr(found, 'verdict', '')}"


def _text() -> list[str]:
    return [
        "A map shows what this model uses on these windows. It does not show what the brain does: a model may use an "
        "artefact, and what it does not use may still matter. A map that does not beat its nulls says so above it."
    ]
