"""All explanations of a model on a source, one after the other; what cannot be made is said in one line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from functools import partial
from os import PathLike
from typing import Any

import pandas as pd

from ..corpus import Windows, pairs
from ..errors import BrainOFError, ConfigError, check_known
from ..evaluation.protocol import recipe_tasks
from ..inference.pairs import PairedRows
from ..utils.progress import progress
from .attention import SEEDS, attended, dint_parts
from .effects import EffectMap
from .embedding import embedding_map
from .experts import expert_usage
from .gradients import gradients
from .occlusion import occlusion
from .parts import KINDS
from .reconstruction import reconstructed
from .shapley import modality_shapley
from .similarity import layer_similarity
from .source import Explained, gather, modality_order, resolve

log = logging.getLogger(__name__)

#: What is explained by default
WHAT = (*KINDS, "gradient", "attention", "dint", "experts", "reconstruction", "embedding", "similarity", "shapley")

#: Kinds of parts that only fMRI has (True) or lacks (False)
_ONLY = {"region": False, "network": True}

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
    found = modality_order(gather(source, network, task=task, most=most, **options))
    few = [each.first(FEW) for each in found]
    null: dict[str, Any] = {"n_untrained": n_untrained}
    both: dict[str, Any] = {**null, "n_permutations": n_permutations, "random_state": random_state}
    seeds = SEEDS if n_untrained else 0  # of maps that need few windows
    paired = _pairs_of(source, found)
    methods = ("pca", "tsne", "umap") if umap else ("pca", "tsne")
    run = model if run is None and isinstance(model, (str, PathLike)) else run
    jobs: list[tuple[str, Callable[[], Any]]] = []
    for by in KINDS:
        # regions are groups of sensors, networks those of an atlas
        suited = [one for one in found if by not in _ONLY or (one.modality == "fmri") == _ONLY[by]]
        jobs += [(by, partial(occlusion, [one], network, by=by, pool=pool, **both)) for one in suited]
    labelled = {**both, "n_permutations": min(n_permutations, 20)}  # each is a pass through the model
    jobs += [("gradient", partial(gradients, one, network, pool=pool, **labelled)) for one in few]
    jobs += [("attention", partial(attended, found, network, seeds))]
    jobs += [("dint", partial(dint_parts, one, network, seeds)) for one in few]
    jobs += [("experts", partial(expert_usage, few, network, **both))]
    jobs += [("reconstruction", partial(reconstructed, one, network, run, **null)) for one in few]
    jobs += [("embedding", partial(embedding_map, one, network, methods=methods, pool=pool, **both)) for one in found]
    if isinstance(source, Windows):
        tables = [paired] if paired is not None else _single(source, found)
        jobs += [("similarity", partial(layer_similarity, source, network, table, **both)) for table in tables]
        if paired is not None and any(each.task for each in found):
            jobs += [("shapley", partial(_shapley, source, found, network, 2 * FEW, both))]
    for name, job in progress([each for each in jobs if each[0] in what], desc="explain", unit="map"):
        try:
            made = job()
        except BrainOFError as error:  # the other maps are made all the same
            reason = (
                error if error.file else "; ".join(filter(None, (error.problem, error.fix)))
            )  # the map is its field
            say(f"{name} is left out: {reason}")
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


def _pairs_of(source: Any, found: list[Explained]) -> Any:
    """Pairs of the modalities of a corpus that show the same subjects, or None."""
    by_modality = {each.modality: each.name for each in found}
    if not isinstance(source, Windows) or len(by_modality) < 2:
        return None
    try:
        return pairs(source.index, by_modality)
    except BrainOFError:
        return None


def _single(source: Windows, found: list[Explained]) -> Iterator[pd.DataFrame]:
    """One column of windows of each dataset, in place of pairs."""
    index = source.index
    for each in found:
        rows = index.index[(index["dataset"].astype(str) == each.name) & (index["view"].astype(str) == "pretrain")]
        if len(rows) > 4:
            yield pd.DataFrame({each.modality: index.index.get_indexer(rows)})
