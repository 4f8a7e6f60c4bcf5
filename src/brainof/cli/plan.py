"""`brainof plan`: what a recipe costs before anything starts."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from ..paths import user_path
from ..utils.console import markdown_table
from ..utils.files import write_atomically
from . import show, takes_assignments

EXAMPLE = """examples:
  brainof plan base --devices 1 8 64 512
  brainof plan large --corpus corpus --devices 8 --mfu 0.3 --link 400 batch_size=64
  brainof plan published --corpus corpus --tune tuning
Without --corpus the windows are those of the published corpus (42 entries, 5,870,984 windows)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("recipe", help="a YAML file, or the name of a shipped recipe (`brainof pretrain --list`)")
    add("--corpus", nargs="+", metavar="CORPUS", help="corpora to train on (default: the published one)")
    add("--devices", nargs="+", type=int, default=[1], metavar="N", help="numbers of devices to plan for (default: 1)")
    add("--peak", type=float, default=989, metavar="TFLOPS", help="peak speed of a device (default: 989, an H100)")
    add("--mfu", type=float, default=0.1, metavar="F", help="fraction of the peak that is reached (default: 0.1)")
    add("--link", type=float, default=50, metavar="GB/S", help="how fast a device sends (default: 50)")
    add("--memory", type=float, default=80, metavar="GB", help="memory of a device (default: 80)")
    add("--tune", metavar="DIR", help="measure on this machine: the largest batch that fits, then learning rates")
    add("--json", action="store_true", help="print one JSON object")
    takes_assignments(parser, "the recipe")


def run(args: argparse.Namespace) -> int:
    from ..corpus import open_corpora
    from ..datasets.catalogue import published_index
    from ..pretraining import find_config
    from ..pretraining.data import index_of
    from ..pretraining.plan import Hardware, kinds_of, plan

    config = find_config(args.recipe).replaced(args.assignments, file=args.recipe)
    if args.tune is not None:
        return _tune(args, config)
    kinds = published_index() if args.corpus is None else kinds_of(index_of(open_corpora(args.corpus), config.sampling))
    hardware = Hardware(args.peak * 1e12, args.mfu, args.link * 1e9, args.memory * 1e9)
    plans = [plan(config, kinds, devices, hardware) for devices in args.devices]
    table = markdown_table([*COLUMNS], ([cell(plan) for cell in COLUMNS.values()] for plan in plans))
    lines = [*_head(args.recipe, plans[0]), "", table]
    return show(args, {"recipe": args.recipe, "plans": plans}, lines)


def _tune(args: argparse.Namespace, config: Any) -> int:
    from ..errors import ConfigError
    from ..pretraining.tune import tune
    from ..report.style import png
    from ..report.training import tuning

    if args.corpus is None:
        raise ConfigError("--tune needs windows to train on", field="corpus", fix="give --corpus")
    found = tune(config, args.corpus, args.tune)
    figure = user_path(args.tune) / "tuning.png"
    write_atomically(figure, [png(tuning(found))])
    lines = []
    words = " ".join(f"{name}={found[name]}" for name in ("tokens_per_batch", "batch_size", "accumulate", "lr"))
    for trial in found["batches"]:
        speed = trial["windows_per_second"]
        result = "does not fit" if speed is None else f"{speed:.1f} windows/s"
        memory = "" if trial["gib"] is None else f", {trial['gib']:.1f} GiB"
        lines.append(f"{trial['tokens_per_batch']:>10,} tokens a batch  {result}{memory}")
    for trial in found["rates"]:
        loss = "not finite" if trial["loss"] is None else f"loss {trial['loss']:.4f}"
        lines.append(f"{trial['lr']:>10g} learning rate    {loss}")
    lines.append(f"{figure}: look at it; then\nbrainof pretrain {args.recipe} {words} ...")
    return show(args, {**found, "figure": str(figure)}, lines)


def _head(recipe: str, plan: Mapping[str, Any]) -> Iterator[str]:
    counts, data, step, time, disk = (plan[name] for name in ("parameters", "data", "step", "time", "disk"))
    yield f"recipe       {recipe}: {_short(counts['total'])} parameters, {_short(counts['active'])} active"
    tokens = f"{data['tokens_per_window']:,.0f} tokens a window"
    yield f"data         {data['windows']:,} windows, {data['bytes'] / 1e12:.2f} TB in float16, {tokens}"
    flops = f"{step['flops'] / 1e12:.3g} TFLOP ({step['flops_per_window'] / 1e9:.3g} GFLOP a window)"
    heaviest = f"heaviest batch {step['heaviest_batch']:.2f} x the mean"
    yield f"step         {step['windows']:,.0f} windows, {flops}; {heaviest}"
    yield f"run          {time['steps']:,} steps, {time['epochs']:.1f} epochs of {time['steps_per_epoch']:,.0f}"
    yield f"disk         {disk['checkpoint'] / 1e9:.2f} GB a checkpoint, {disk['release'] / 1e9:.2f} GB the release"


#: Column -> its cell of a plan; all are of one device
COLUMNS = {
    "devices": lambda p: f"{p['devices']}",
    "windows a step": lambda p: f"{p['step']['windows_per_device']:.1f}",
    "memory, GiB": lambda p: _by_kind(p, lambda kind: _memory(p, kind)),
    "sent a step, GB": lambda p: _by_kind(p, lambda kind: f"{p['communication'][kind]['bytes'] / 1e9:.3g}"),
    "takes": lambda p: p["time"]["parallel"] if p["time"]["fits"] else "does not fit",
    "step, ms": lambda p: f"{1e3 * p['time']['seconds_per_step']:.3g}",
    "of it computing": lambda p: f"{p['time']['compute_seconds_per_step'] / p['time']['seconds_per_step']:.0%}",
    "epoch, h": lambda p: f"{p['time']['hours_per_epoch']:.3g}",
    "run, h": lambda p: f"{p['time']['hours']:.3g}",
    "read, MB/s": lambda p: f"{p['time']['load_bytes_per_second'] / 1e6:.3g}",
}


def _by_kind(plan: Mapping[str, Any], cell: Any) -> str:
    return ", ".join(f"{kind} {cell(kind)}" for kind in plan["memory"] if plan["devices"] > 1 or kind == "none")


def _memory(plan: Mapping[str, Any], kind: str) -> str:
    parts = plan["memory"][kind]
    state = sum(value for name, value in parts.items() if not name.startswith("activations"))
    sizes = [(state + parts[name]) / 2**30 for name in ("activations", "activations_checkpointed")]
    return " ({:.3g})".join(["{:.3g}", ""]).format(*sizes)


def _short(number: float) -> str:
    return f"{number / 1e9:.2f} G" if number >= 1e9 else f"{number / 1e6:.1f} M"
