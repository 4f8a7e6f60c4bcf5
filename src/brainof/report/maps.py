"""Figures of explanations with the field's tools: MNE's topomaps, nilearn's glass brain and surface.

Every figure says in its first line whether the map beats its nulls.
"""

from __future__ import annotations

import textwrap
import warnings
from functools import singledispatch
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ..channels import Channels
from ..explain.attention import Attended, DintParts
from ..explain.effects import EffectMap
from ..explain.embedding import EmbeddingMap
from ..explain.experts import ExpertUsage
from ..explain.reconstruction import Example, Reconstruction
from ..explain.similarity import Similarity
from ..utils.values import counted
from .style import BLACK, BLUE, GREEN, GREY, MODALITY_COLOURS, MODALITY_NAMES, ORANGE, RED, panels, say_empty, styled

#: Short unit of a colour bar, by the start of the measure
_UNIT = {"loss of eviden": "evidence (RMS)", "change of the ": "change (SD)", "share of the a": "share"}
#: Colour maps that stay apart for colour-blind readers and in print
SEQUENTIAL, DIVERGING = "cividis", "RdBu_r"
SENSORS = {"eeg": "electrodes", "mag": "magnetometers", "grad": "gradiometers", "axial": "axial gradiometers"}


@singledispatch
def draw(found: Any) -> Figure:
    """The figure of an explanation."""
    raise TypeError(f"no figure of {type(found).__name__}")


def headline(figure: Figure, found: Any, what: str) -> None:
    """What is drawn, of which windows; and whether it beats its nulls, in red where it does not."""
    about = getattr(found, "about", None) or {}
    named = [str(about[key]) for key in ("name", "task") if about.get(key)]
    of = named[-1] if named and named[-1].startswith(f"{named[0]}/") else ", ".join(named)  # a task names its dataset
    windows = f", {counted(about['windows'], 'window')}" if "windows" in about else ""
    lost = "DOES NOT BEAT" in found.verdict or found.verdict.startswith(("not tested", "held against no", "one group"))
    width = int(figure.get_figwidth() * 14)
    lines = [f"{what}{': ' + of if of else ''}{windows}", *textwrap.wrap(found.verdict, width)]
    figure.suptitle("\n".join(lines), fontsize=9, x=0.01, ha="left", color=RED if lost else BLACK)


# Effects


@draw.register
@styled
def effects(found: EffectMap) -> Figure:
    """Effects with intervals; on the head or brain where parts have places."""
    channels, unit = found.channels, _UNIT.get(found.measure[:14], "effect")
    placed = channels if channels is not None and channels.located.sum() > 3 else None
    kinds = [] if placed is None else sorted(set(placed.types))
    brain = placed if kinds == ["roi"] else None
    figure, axes = panels(1, 3 if brain else 1 + len(kinds), width=3.3, height=3.1)
    bars(axes[0, 0], found)
    if brain is not None:
        surface(axes[0, 2], found.effect, brain)
    elif placed is not None:
        for panel, kind in zip(axes[0, 1:], kinds, strict=True):
            rows = np.array([each == kind for each in placed.types])
            topomap(panel, found.effect[rows], placed.take(np.flatnonzero(rows)), found.beats[rows], unit)
            panel.set_title(SENSORS[kind])
    what = {"gradient": "Integrated gradients", "modality": "Shapley values of modalities"}
    headline(figure, found, what.get(found.by, f"Occlusion by {found.by}"))
    if brain is not None:
        axes[0, 1].set_title("regions, seen from above", fontsize=8)
        glass_brain(axes[0, 1], found.effect, brain, unit)
    return figure


def bars(panel: Axes, found: EffectMap, most: int = 12) -> None:
    """The largest effects (all, for few parts) with 95 % intervals, random weights and the null of permuted labels."""
    ordered = found.by in ("time", "band", "modality") or len(found.names) <= most
    chosen = np.arange(len(found.names)) if ordered and found.by != "channel" else np.argsort(-found.effect)[:most]
    place = np.arange(len(chosen))[::-1]
    error = np.stack([found.effect - found.low, found.high - found.effect])
    for beats, colour, label in ((True, BLUE, "beats its nulls"), (False, GREY, "does not")):
        rows = found.beats[chosen] == beats
        own = chosen[rows]
        look: Any = {"fmt": "o", "color": colour, "capsize": 2, "markersize": 4.5, "label": label}
        panel.errorbar(found.effect[own], place[rows], xerr=error[:, own], **look)
    if found.untrained is not None:
        look = {"color": ORANGE, "markersize": 4, "fillstyle": "none", "label": "random weights"}
        panel.plot(found.untrained[chosen], place, "D", **look)
    if found.labels_95 is not None:
        panel.axvline(found.labels_95, color=RED, linestyle=":", linewidth=1.2, label="permuted labels, 95 %")
    panel.axvline(0, color=BLACK, linewidth=0.7)
    panel.locator_params(axis="x", nbins=5)
    panel.set_yticks(place, [found.names[part] for part in chosen], fontsize=7.5)
    panel.set_ylim(-0.7, len(chosen) - 0.3)
    panel.grid(visible=False, axis="y")
    measure, _, unit = found.measure.partition(" (")
    panel.set_xlabel(f"{measure}\n({unit}" if unit else measure, fontsize=8)
    of = f"largest {len(chosen)} of {len(found.names)}" if len(chosen) < len(found.names) else ""
    panel.set_title(f"{of}\nmean and 95 % interval over {found.n_units} {found.unit}".strip(), fontsize=8)
    panel.legend(fontsize=6.5, loc="lower center", bbox_to_anchor=(0.4, -0.6), ncols=2)


def matrix(panel: Axes, values: np.ndarray, title: str, labels: tuple[str, str], **options: Any) -> AxesImage:
    """A matrix as an image with its title and the labels of its columns and rows."""
    panel.set_title(title, fontsize=8)
    panel.set(xlabel=labels[0], ylabel=labels[1])
    panel.grid(visible=False)
    return panel.imshow(values, **options)


def limits(values: np.ndarray) -> tuple[tuple[float, float], str]:
    """Limits and colour map of values: from zero, or around it where some are below."""
    largest = max(float(np.abs(values).max()), 1e-12)
    return ((-largest, largest), DIVERGING) if values.min() < 0 else ((0.0, largest), SEQUENTIAL)


def flattened(positions: np.ndarray) -> np.ndarray:
    """Positions (n, 3) seen from above: the angle from the vertical becomes the distance from the middle."""
    centred = positions - [0.0, 0.0, 0.04]
    flat = np.hypot(centred[:, 0], centred[:, 1])
    angle = np.arctan2(flat, centred[:, 2])
    return centred[:, :2] * (angle / np.maximum(flat, 1e-9))[:, None]


def topomap(
    panel: Axes,
    values: np.ndarray,
    channels: Channels,
    marked: np.ndarray | None = None,
    label: str = "",
    vlim: tuple[float, float] | None = None,
) -> None:
    """Values on the head seen from above, nose up, interpolated by MNE; sensors without a position are left out."""
    import mne

    known = channels.located & np.isfinite(values)
    if known.sum() < 4:
        say_empty(panel, f"{known.sum()} of {len(channels)} sensors\nhave a position")
        return
    # planar gradiometers sit in pairs at one place: MNE interpolates between places
    places, owner = np.unique(np.round(channels.positions[known], 3), axis=0, return_inverse=True)
    owner = owner.ravel()
    mean = np.bincount(owner, values[known]) / np.bincount(owner)
    if channels.frame != "head":  # places of other frames are centred on themselves
        places = places - places.mean(0) + [0.0, 0.0, 0.05]
    points = flattened(places) / (np.pi / 2) * 0.095 * 0.92
    mask = None if marked is None else np.bincount(owner, marked[known]) > 0
    vlim = vlim or limits(mean)[0]
    look: Any = {"cmap": DIVERGING if vlim[0] < 0 else SEQUENTIAL, "vlim": vlim, "contours": 4, "mask": mask}
    look["mask_params"] = {"marker": "o", "markerfacecolor": "white", "markeredgecolor": BLACK, "markersize": 4}
    look["extrapolate"] = "head" if set(channels.types) == {"eeg"} else "local"  # MEG helmets reach beyond the head
    with warnings.catch_warnings(action="ignore"):
        image, _ = mne.viz.plot_topomap(mean, points, axes=panel, show=False, **look)
    bar = panel.figure.colorbar(image, ax=panel, shrink=0.6, pad=0.02, label=label)
    bar.ax.tick_params(labelsize=6.5)
    if lost := int((~known).sum()):
        panel.set_xlabel(f"{counted(lost, 'sensor')} without a position", fontsize=7)


def glass_brain(panel: Axes, values: np.ndarray, channels: Channels, label: str = "") -> None:
    """Regions as dots in nilearn's glass brain, seen from above; MNI coordinates are needed.

    Draw it last: nilearn puts axes of its own where the panel is, so that the layout must stay as it is from then on.
    """
    from nilearn import plotting

    known = channels.located
    if known.sum() < 2 or channels.frame != "mni":
        say_empty(panel, "regions have no MNI coordinates")
        return
    (lowest, largest), colours = limits(values)
    figure: Any = panel.figure
    figure.colorbar(ScalarMappable(Normalize(lowest, largest), colours), ax=panel, shrink=0.6, pad=0.02, label=label)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    with warnings.catch_warnings(action="ignore"):
        plotting.plot_markers(
            values[known], 1000 * channels.positions[known], node_size=8 + 40 * np.abs(values[known]) / largest,
            node_cmap=colours, node_vmin=lowest, node_vmax=largest, axes=panel, display_mode="z", annotate=False,
            colorbar=False,
        )  # fmt: skip


def surface(panel: Axes, values: np.ndarray, channels: Channels) -> None:
    """The left hemisphere of fsaverage5 (it comes with nilearn), each vertex with the nearest region within 15 mm."""
    from nilearn import datasets, plotting, surface
    from scipy.spatial import cKDTree

    known = channels.located
    if known.sum() < 2 or channels.frame != "mni":
        say_empty(panel, "")
        return
    mesh = datasets.fetch_surf_fsaverage("fsaverage5")
    pial = surface.load_surf_mesh(mesh["pial_left"])
    distance, nearest = cKDTree(1000 * channels.positions[known]).query(np.asarray(pial.coordinates))
    texture = np.where(distance < 15, values[known][nearest], np.nan)
    place, figure = panel.get_subplotspec(), panel.figure
    panel.remove()
    three_d = figure.add_subplot(place, projection="3d")
    largest = max(float(np.nanmax(np.abs(texture), initial=0.0)), 1e-12)
    with warnings.catch_warnings(action="ignore"):
        plotting.plot_surf_stat_map(
            mesh["infl_left"], texture, hemi="left", view="lateral", bg_map=mesh["sulc_left"], axes=three_d,
            cmap=DIVERGING, vmax=largest, colorbar=False, engine="matplotlib",
        )  # fmt: skip
    for part in three_d.collections:
        part.set_rasterized(True)
    three_d.set_title("left surface", fontsize=8)


# Attention and experts


@draw.register
@styled
def attended(found: Attended) -> Figure:
    """Where the four most focused latents look, when all latents look, and how far they reach."""
    figure, axes = panels(1, 6, width=1.9, height=2.4)
    colour = MODALITY_COLOURS.get(found.modality, BLUE)
    time = found.weights.sum(1)
    if time.shape[1] > 1:
        seconds = (np.arange(time.shape[1]) + 0.5) * found.seconds
        axes[0, 4].plot(seconds, 100 * time.T, color=colour, alpha=0.25, linewidth=0.8)
        axes[0, 4].plot(seconds, 100 * time.mean(0), color=BLACK)
        axes[0, 4].set(xlabel="time in window (s)", ylabel="% of attention", title="latents in time")
        axes[0, 4].set_ylim(bottom=0)
    else:
        say_empty(axes[0, 4], f"a window is one patch\n({found.seconds:.3g} s): nothing\nvaries in time")
    shown = [found.reach] + ([] if found.untrained_reach is None else [found.untrained_reach])
    axes[0, 5].boxplot(shown, tick_labels=["model", "random\nweights"][: len(shown)], widths=0.6)
    axes[0, 5].set(ylabel="channels attended", title="reach of a latent")
    headline(figure, found, f"What latents attend to ({MODALITY_NAMES[found.modality]})")
    for panel, latent in zip(axes[0, :4], np.argsort(found.reach)[:4], strict=False):
        panel.set_title(f"latent {latent}", fontsize=8)
        space = 100 * found.weights[latent].sum(1)
        if found.modality == "fmri":
            glass_brain(panel, space, found.channels, "% of attention")
        else:
            kinds = sorted(set(found.channels.types), key=lambda kind: kind != "mag")
            rows = np.flatnonzero([kind == kinds[0] for kind in found.channels.types])
            topomap(panel, space[rows], found.channels.take(rows), label="% of attention")
    for panel in axes[0, len(found.reach) : 4]:
        panel.set_axis_off()
    return figure


@draw.register
@styled
def dint(found: DintParts) -> Figure:
    """A1, lam A2, lam G and their sum in the first and last layer, mean over heads and windows."""
    layers = sorted({0, len(found.lam) - 1})
    figure, axes = panels(len(layers), len(found.parts), width=2.1, height=2.0)
    for row, layer in zip(axes, layers, strict=True):
        largest = max(float(np.abs(part[layer]).max()) for part in found.parts.values())
        for panel, (name, part) in zip(row, found.parts.items(), strict=True):
            look: Any = {"cmap": DIVERGING, "vmin": -largest, "vmax": largest}
            title = f"layer {layer}: {name.replace('lam', 'λ')}"
            image = matrix(panel, part[layer], title, ("key latent", "query latent"), **look)
        figure.colorbar(image, ax=row[-1], label="weight")
    headline(figure, found, f"Parts of the DINT maps, λ = {', '.join(f'{lam:.2f}' for lam in found.lam[:6])}")
    return figure


@draw.register
@styled
def experts(found: ExpertUsage) -> Figure:
    """Share of the tokens that each expert of each layer takes, one panel per dataset; and what the choice tells."""
    n = len(found.groups)
    figure, axes = panels(1, n + 1, width=2.3, height=2.3)
    largest = 100 * float(found.share.max())
    for panel, name, share in zip(axes[0], found.groups, found.share, strict=False):
        look: Any = {"cmap": SEQUENTIAL, "vmin": 0, "vmax": largest, "aspect": "auto"}
        image = matrix(panel, 100 * share, name, ("expert", "layer"), **look)
        panel.set_yticks(range(len(found.layers)), [str(layer) for layer in found.layers])
    figure.colorbar(image, ax=axes[0, n - 1], label="% of tokens")
    panel, layers = axes[0, n], np.arange(len(found.layers))
    panel.plot(layers, found.information, "o-", color=BLUE, label="model")
    if found.untrained is not None:
        panel.plot(layers, found.untrained, "D--", color=ORANGE, fillstyle="none", label="random weights")
    if found.labels_95 is not None:
        panel.plot(layers, found.labels_95, ":", color=RED, label="permuted groups, 95 %")
    panel.set(xlabel="layer", ylabel="bits", title="what a choice says about the group")
    panel.set_xticks(layers, [str(layer) for layer in found.layers])
    panel.set_ylim(bottom=0)
    panel.legend(fontsize=6.5)
    headline(figure, found, "Use of the experts")
    return figure


# Reconstructions


@draw.register
@styled
def reconstruction(found: Reconstruction) -> Figure:
    """A window and what the model made of it; spectrogram (EEG), connectivity (fMRI) or topography (MEG)."""
    example = max(found.examples, key=lambda each: each.r2 if np.isfinite(each.r2) else -np.inf)
    figure, axes = panels(1, 4, width=2.6, height=2.7, gridspec_kw={"width_ratios": [2.2, 1, 1, 0.9]})
    _waveforms(axes[0, 0], example)
    axes[0, 0].set_title(f"best window, R2 {example.r2:.2f}; hidden patches shaded", fontsize=8)
    beside = {"eeg": _spectrograms, "meg": _topographies, "fmri": _connectivities}[example.modality]
    beside(axes[0, 1], axes[0, 2], found, example)
    shown = {"right\nlatents": found.r2, "of other\nwindows": found.shuffled}
    if found.untrained is not None:
        shown["random\nweights"] = found.untrained
    finite = [np.clip(values[np.isfinite(values)], -1, 1) for values in shown.values()]
    axes[0, 3].boxplot(finite, tick_labels=list(shown), widths=0.6)
    axes[0, 3].axhline(0, color=GREY, linewidth=0.8)
    axes[0, 3].tick_params(axis="x", labelsize=6.5)
    axes[0, 3].set_title(f"R2 of {len(found.r2)} windows (cut at -1)", fontsize=8)
    headline(figure, found, f"Reconstruction of hidden patches ({MODALITY_NAMES[example.modality]})")
    return figure


def _waveforms(panel: Axes, example: Example) -> None:
    """Four channels of a window: the signal, and in shaded patches what the model put there."""
    shown = np.linspace(0, len(example.names) - 1, min(4, len(example.names))).round().astype(int)
    true, made, hidden = (values[shown] for values in (example.true_CT, example.reconstructed_CT, example.hidden_CT))
    times = np.arange(true.shape[1]) / example.sfreq
    spacing = max(float(np.percentile(np.abs(true), 99.5)), 1e-6) * 1.7
    colour = MODALITY_COLOURS.get(example.modality, BLUE)
    for row in range(len(shown)):
        base = -row * spacing
        ground: Any = {"color": colour, "alpha": 0.1, "linewidth": 0, "step": "mid"}
        panel.fill_between(times, base - spacing / 2, base + spacing / 2, where=hidden[row], **ground)
        panel.plot(times, np.where(hidden[row], made[row], np.nan) + base, color=colour, linewidth=1.6)
        panel.plot(times, true[row] + base, color=BLACK, linewidth=0.7, alpha=0.75)
    panel.set_yticks([-row * spacing for row in range(len(shown))], [str(example.names[i]) for i in shown])
    panel.set_ylim(-(len(shown) - 0.45) * spacing, 0.55 * spacing)
    panel.set_xlim(times[0], times[-1])
    panel.grid(visible=False)
    panel.set(xlabel="time (s)", ylabel="channel (normalised)")


def _spectrograms(one: Axes, two: Axes, found: Reconstruction, example: Example) -> None:
    from scipy.signal import spectrogram

    channel = int(example.hidden_CT.sum(1).argmax())
    length = min(example.true_CT.shape[1], max(16, int(example.sfreq / 2)))
    options = {"fs": example.sfreq, "nperseg": length, "noverlap": length * 3 // 4}
    hz, times, true = spectrogram(example.true_CT[channel], **options)
    filled_CT = np.where(example.hidden_CT, example.reconstructed_CT, example.true_CT)
    made = spectrogram(filled_CT[channel], **options)[2]
    below = hz <= min(45, example.sfreq / 2)
    decibel = [10 * np.log10(power[below] + 1e-6) for power in (true, made)]
    limits = {"vmin": decibel[0].max() - 40, "vmax": decibel[0].max()}
    for panel, values, name in zip((one, two), decibel, ("true", "with the model's patches"), strict=True):
        image = panel.pcolormesh(times, hz[below], values, cmap=SEQUENTIAL, rasterized=True, **limits)
        panel.set_title(f"{example.names[channel]}: {name}", fontsize=8)
        panel.set(xlabel="time (s)", ylabel="frequency (Hz)")
        panel.grid(visible=False)
    panel.figure.colorbar(image, ax=two, label="dB re SD²/Hz")


def _topographies(one: Axes, two: Axes, found: Reconstruction, example: Example) -> None:
    hidden = example.hidden_CT
    count = np.maximum(hidden.sum(1), 1)
    sizes = [np.sqrt((np.where(hidden, x, 0) ** 2).sum(1) / count) for x in (example.true_CT, example.reconstructed_CT)]
    kind = max(set(found.channels.types), key=lambda each: (each != "grad", found.channels.types.count(each)))
    rows = np.flatnonzero(np.array([each == kind for each in found.channels.types]) & hidden.any(1))
    for panel, values, name in zip((one, two), sizes, ("true", "model"), strict=True):
        vlim = (0.0, max(float(values[rows].max()), 1e-9)) if len(rows) else None
        topomap(panel, values[rows], found.channels.take(rows), label="RMS of hidden samples (SD)", vlim=vlim)
        panel.set_title(f"{SENSORS.get(kind, kind)}: {name}", fontsize=8)


def _connectivities(one: Axes, two: Axes, found: Reconstruction, example: Example) -> None:
    """Correlations over samples that are hidden in both regions, over all windows."""
    true = np.concatenate([np.where(each.hidden_CT, each.true_CT, np.nan) for each in found.examples], 1)
    made = np.concatenate([np.where(each.hidden_CT, each.reconstructed_CT, np.nan) for each in found.examples], 1)
    matrices = [np.ma.corrcoef(np.ma.masked_invalid(values)).filled(np.nan) for values in (true, made)]
    upper = np.triu_indices(len(true), 1)
    pair = np.stack([values[upper] for values in matrices])
    both = np.isfinite(pair).all(0)
    r = np.corrcoef(pair[:, both])[0, 1] if both.sum() > 2 else np.nan
    for panel, values, name in zip((one, two), matrices, ("true", f"model, r = {r:.2f}"), strict=True):
        image = matrix(panel, values, f"FC: {name}", ("region", "region"), cmap=DIVERGING, vmin=-1, vmax=1)
    panel.figure.colorbar(image, ax=two, label="correlation")


# Embeddings


@draw.register
@styled
def embedding(found: EmbeddingMap) -> Figure:
    """One row per method, one column per factor."""
    factors, methods = found.factors, {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
    okabe = [BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9"]
    figure, axes = panels(len(found.coordinates), max(1, len(factors)), width=3.1, height=2.7)
    for row, (method, points) in zip(axes, found.coordinates.items(), strict=True):
        shares = [f" ({100 * share:.0f} %)" if method == "pca" else "" for share in found.explained]
        x, y = (f"{methods[method]} {number}{share}" for number, share in enumerate(shares, 1))
        colouring = [factor.values for factor in factors] or [np.full(len(points), "window")]
        for panel, values in zip(row, colouring, strict=True):
            names, codes = np.unique(values, return_inverse=True)
            few = len(names) <= len(okabe)
            colours: Any = okabe if few else colormaps["viridis"](np.linspace(0, 1, len(names)))
            for k, name in enumerate(names):
                look: Any = {"s": 9, "color": [colours[k]], "marker": "osD^vP"[k % 6], "alpha": 0.75, "linewidths": 0}
                panel.scatter(*points[codes == k].T, label=str(name)[:22], **look)
            if few:
                panel.legend(fontsize=6.5, loc="best", markerscale=1.3)
            else:
                about: Any = {"transform": panel.transAxes, "ha": "right", "fontsize": 6.5, "color": GREY}
                panel.text(0.99, 0.01, f"{len(names)} values", **about)
            panel.set(xlabel=x, ylabel=y, xticks=[], yticks=[])
    for panel, factor in zip(axes[0], factors, strict=False):
        verdict = "\n".join(textwrap.fill(line, 48) for line in factor.verdict.splitlines())
        panel.set_title(verdict, fontsize=7.5, color=RED if "DOES NOT" in verdict else BLACK)
    of = f"{found.about['name']}, {found.about['windows']} windows"
    figure.suptitle(f"Embeddings: {of}", fontsize=9.5, x=0.01, ha="left")
    return figure


@draw.register
@styled
def similarity(found: Similarity) -> Figure:
    """CKA and RSA of each two layers, and CKA with random weights."""
    shown = {"CKA": found.cka, "RSA": found.rsa}
    if found.untrained is not None:
        shown["CKA, random weights"] = found.untrained
    figure, axes = panels(1, len(shown), width=2.5, height=2.3)
    labels = [f"layer ({MODALITY_NAMES.get(side, side)})" for side in (found.second, found.first)]
    for panel, (name, values) in zip(axes[0], shown.items(), strict=True):
        lowest = min(0.0, float(values.min()))
        image = matrix(panel, values, name, (labels[0], labels[1]), cmap=SEQUENTIAL, vmin=lowest, vmax=1)
        for (i, k), value in np.ndenumerate(values) if len(values) <= 7 else ():
            colour = "white" if value < 0.6 else BLACK
            panel.text(k, i, f"{value:.2f}", ha="center", va="center", fontsize=6.5, color=colour)
    figure.colorbar(image, ax=axes[0, -1])
    of = found.first if found.first == found.second else f"{found.first} and {found.second}"
    headline(figure, found, f"Similarity of representations, {of} (layer 0 is the sampler), {found.n_windows} windows")
    return figure
