"""Explanations on disk: a PNG and an SVG per map, and `explain.json` with the numbers; read back for a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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


def write_explanations(found: Iterable[Any], out: Path, **about: Any) -> list[Any]:
    """Draw and save each explanation of `brainof.explain.explain` as it comes; `explain.json` holds those made so far.

    `about` is what the file says of itself: model, source, seed, command.
    """
    make_folder(out)
    made: list[Any] = []
    entries: list[dict[str, Any]] = []
    for each in found:
        figure = draw(each)
        name = ABOUT[type(each)][0] if not isinstance(each, EffectMap) else each.by
        path = out / f"{len(entries) + 1:02d}_{name}.png"
        write_atomically(path, [png(figure)])
        write_atomically(path.with_suffix(".svg"), [svg(figure)])
        made.append(each)
        entries.append({"figure": path.name, "caption": caption(each), **each.to_dict()})
        write_json(out / FILE, {"format": "brainof-explain", "version": 1, **about, "maps": entries})
    if not made:
        raise ConfigError("nothing could be explained", field="source", fix="see the lines above for what is missing")
    return made


def lead(maps: Iterable[Mapping[str, Any]]) -> str:
    """The first sentence of the page, of the maps in `explain.json`: which of them beat their nulls."""
    groups: dict[str, list[str]] = {"won": [], "lost": [], "untested": []}
    for each in maps:
        if verdict := each.get("verdict", ""):
            kind = "lost" if "DOES NOT BEAT" in verdict else "won" if verdict.startswith("beats") else "untested"
            groups[kind].append(each.get("by", each["kind"]))
    names = {kind: f" ({', '.join(dict.fromkeys(found))})" if found else "" for kind, found in groups.items()}
    won, lost, untested = (f"{len(found)}{names[kind]}" for kind, found in groups.items())
    return f"Maps that beat their nulls: {won}; that do not: {lost}; that could not be tested: {untested}."


def stored_section(folder: Path) -> Section:
    """Figures of a folder that `write_explanations` made; a ConfigError where it holds none, or is damaged."""
    try:
        found = parse_json((folder / FILE).read_text())
        drawn = [(folder / Path(entry["figure"]).with_suffix(".svg").name, entry) for entry in found["maps"]]
        images = [
            Image(path.read_bytes(), entry["caption"], entry.get("verdict", ""))
            for path, entry in drawn
            if path.is_file()
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"is damaged ({error})", file=folder / FILE, fix="run brainof explain again") from None
    text = (
        "A map shows what this model uses on these windows. It does not show what the brain does: a model may use an "
        "artefact, and what it does not use may still matter. A map that does not beat its nulls says so above it."
    )
    return Section(f"What a model uses: {found.get('model') or folder.name}", [text], images)
