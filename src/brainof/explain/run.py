"""All explanations of a model on a source, one after the other; what cannot be made is said in one line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from functools import partial
from os import PathLike
from typing import Any

import numpy as np

from ..corpus import Windows, pairs
from ..errors import BrainOFError, ConfigError, check_known
from ..evaluation.protocol import recipe_tasks
from ..inference.examples import CorpusRows, Examples
from ..inference.pairs import PairedRows
from ..model import BrainOF
from ..utils.progress import progress
from .attention import SEEDS, attended, dint_parts
from .effects import EffectMap
from .embedding import embedding_map
from .experts import expert_usage
from .gradients import gradients
from .hiding import KINDS
from .occlusion import occlusion
from .reconstruction import reconstructed
from .shapley import modality_shapley
from .similarity import layer_similarity
from .source import MOST, Explained, gather, resolve

log = logging.getLogger(__name__)

#: What is explained by default
WHAT = (*KINDS, "gradient", "attention", "dint", "experts", "reconstruction", "embedding", "similarity", "shapley")

#: Windows for maps that need many passes through the model
FEW = 40


def explain(
    model: Any,
    source: Any,
    *,
    what: Collection[str] = WHAT,
    task: str | None = None,
    most: int = 120,
    n_untrained: int = 2,
    n_permutations: int = 200,
    umap: bool = False,
    random_state: int = 0,
    run: str | PathLike[str] | None = None,
    say: Callable[[str], None] = log.warning,
    **options: Any,
) -> Iterator[Any]:
    """Explain a model on recordings or a corpus.

    Parameters
    ----------
    model : BrainOF, str, path or fitted estimator of brainof
    source : Corpus, or what `brainof.embed` takes
    what : collection of str
        Of WHAT.
    task : str, optional
        Of the corpus: "dataset/task"; "none" explains without labels.
    most : int
        Windows of each dataset at most.
    n_untrained, n_permutations : int
        Models with random weights, and labellings, of the nulls.
    umap : bool
        Draw UMAP as well (extra `explain`).
    run : path, optional
        Run folder of the model, whose masks reconstructions use.
    say : callable
        Called with a line for each map that cannot be made, and why.
    **options
        Of `gather`: accept, units, y, groups, ...

    Yields
    ------
    EffectMap, Attended, DintParts, ExpertUsage, Reconstruction, EmbeddingMap or Similarity
        Each has `verdict` and `to_dict()`.

    Raises
    ------
    ConfigError
        Something unknown in `what`, or a model or source that cannot be explained.

    Examples
    --------
    >>> from brainof.explain import explain
    >>> for found in explain("runs/first", "rest.edf", what=["channel"]):  # doctest: +SKIP
    ...     print(found.verdict)
    """
    for name in what:
        check_known(name, WHAT, ConfigError, field="what")
    network, contract, pool = resolve(model)
    options.setdefault("contract", contract)
    found = gather(source, network, task=task, most=most, **options)
    few = [each.first(FEW) for each in found]
    null: dict[str, Any] = {"n_untrained": n_untrained}
    both: dict[str, Any] = {**null, "n_permutations": n_permutations, "random_state": random_state}
    seeds = SEEDS if n_untrained else 0  # of maps that need few windows
    paired = _paired(source, found, network)
    methods = ("pca", "tsne", "umap") if umap else ("pca", "tsne")
    run = model if run is None and isinstance(model, (str, PathLike)) else run
    jobs: list[tuple[str, Callable[[], Any]]] = []
    for by in KINDS:
        # regions are groups of sensors, networks those of an atlas
        suited = [one for one in found if by != ("region" if one.modality == "fmri" else "network")]
        jobs += [(by, partial(occlusion, one, network, by=by, pool=pool, **both)) for one in suited]
    labelled = {**both, "n_permutations": min(n_permutations, 20)}  # each is a pass through the model
    jobs += [("gradient", partial(gradients, one, network, pool=pool, **labelled)) for one in few]
    jobs += [("attention", partial(attended, one, network, seeds)) for one in found]
    jobs += [("dint", partial(dint_parts, one, network, seeds)) for one in few]
    jobs += [("experts", partial(expert_usage, few, network, **both))]
    jobs += [("reconstruction", partial(reconstructed, one, network, run, **null)) for one in few]
    jobs += [("embedding", partial(embedding_map, one, network, methods=methods, pool=pool, **both)) for one in found]
    alike = [paired] if paired else [{one.modality: one.examples} for one in found]
    jobs += [("similarity", partial(layer_similarity, examples, network, **both)) for examples in alike]
    if paired and any(each.task for each in found):
        jobs += [("shapley", partial(_shapley, source, found, network, 2 * FEW, both))]
    for name, job in progress([each for each in jobs if each[0] in what], desc="explain", unit="map"):
        try:
            made = job()
        except BrainOFError as error:  # the other maps are made all the same
            reason = error if error.file else "; ".join(filter(None, (error.problem, error.fix)))
            say(f"{name} is left out: {reason}")  # the map is its field
            continue
        yield from made if isinstance(made, list) else [made]


def _shapley(source: Windows, found: list[Explained], model: Any, most: int, options: dict[str, Any]) -> EffectMap:
    """Shapley values for the first task: its windows, paired with those of the other modalities."""
    known = {task.name: task for task in recipe_tasks(source)}
    anchor = next(each for each in found if each.task)
    # windows of the anchor bear the label; of the others, whatever lies at the same time
    views = {each.modality: known[anchor.task].view if each is anchor else "pretrain" for each in found}
    table = pairs(source.index, {each.modality: each.name for each in found}, view=views, anchor=anchor.modality)
    rows = PairedRows(source, table, model.config.patch)
    return modality_shapley(rows, model, known[anchor.task].label, anchor=anchor.modality, most=most, **options)


def _paired(source: Any, found: list[Explained], model: BrainOF) -> dict[str, Examples]:
    """Windows of the same moments in all modalities of a corpus; empty where there are none."""
    by_modality = {each.modality: each.name for each in found}
    if not isinstance(source, Windows) or len(by_modality) < 2:
        return {}
    try:
        table = pairs(source.index, by_modality)
    except BrainOFError:
        return {}
    table = table.iloc[np.linspace(0, len(table) - 1, min(MOST, len(table))).astype(int)]
    return {str(name): CorpusRows(source, table[name].to_numpy(), model.config.patch) for name in table}
