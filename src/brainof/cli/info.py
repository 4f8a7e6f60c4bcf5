"""`brainof info`: what brainof understands of a recording, a preset or a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..channels import MODALITIES, SHOWN_UNITS, UNITS
from ..contract import ACCEPTABLE
from ..errors import ConfigError, ReadError, did_you_mean, in_options
from ..io import ReadOptions, read
from ..io.checks import amplitude_problems
from ..io.formats import first_part, missing
from ..paths import user_path
from ..recording import Recording
from ..utils.values import counted
from . import say, show

EXAMPLE = """examples:
  brainof info recording.edf
  brainof info meg.fif --modality eeg --json
  brainof info bold.nii.gz --atlas atlas.nii.gz --labels atlas.tsv
  brainof info bold.nii.gz --grid-mm 24
  brainof info regions.npz --variable ts --time-axis 0 --t-r 2
  brainof info tiny"""

#: files that mark a folder as a run or a release of a model
_MODEL_FILES = ("contract.json", "config.json", "config.yaml", "preprocessing.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="FILE|PRESET|CHECKPOINT", help="recording, preset, or folder of a model")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_read_arguments(parser.add_argument_group("how to read the file, where it does not say"))


def add_read_arguments(parser: Any) -> None:
    """The options of `brainof.io.ReadOptions` that a command line needs."""
    add = parser.add_argument
    add("--modality", choices=MODALITIES, help="which one to read from a file that holds several")
    add("--units", help="unit of the stored values, such as uV")
    add("--sfreq", type=float, help="samples per second")
    add("--t-r", type=float, help="repetition time in seconds")
    add("--variable", help="name of the array inside an npz, mat or HDF5 file")
    add("--events-variable", help="name of the array or column of event codes")
    add("--time-axis", type=int, choices=(0, 1), help="axis of an array that is time: 0 (rows) or 1 (columns)")
    add("--channel-names", help="names of all channels, separated by commas")
    for name, what in (("pick", "read only"), ("drop", "leave out")):
        text = f"{what} channels of this name, pattern ('EXG*') or type (mag); may be given several times"
        add(f"--{name}", action="append", metavar="PATTERN", help=text)
    add("--montage", help="template that gives electrode positions by name, such as standard_1005")
    add("--atlas", help="label image of an fMRI atlas")
    add("--atlas-name", metavar="NAME", help="a known atlas (`brainof atlas list`)")
    add("--labels", help="table with the ids and names of the regions")
    add("--grid-mm", type=float, help="average over cubes with edges of this length instead of an atlas")
    add("--confounds", help="table of nuisance regressors")
    add("--max-bytes", type=float, help="refuse recordings that need more memory than this")
    add("--channel-types", action="append", default=[], metavar="PATTERN=TYPE", help="such as 'EXG*=eeg' or 'X1=eog'")
    add("--data-format", choices=("int16", "int32"), help="sample format of a Neuroscan .cnt file")
    add("--allow-maxshield", action="store_true", default=None, help="read raw MaxShield recordings")
    add("--no-sidecars", dest="sidecars", action="store_false", default=None, help="read the file as if it stood alone")


def add_contract_arguments(parser: argparse.ArgumentParser) -> None:
    """What may be done about differences from training, for commands that read recordings for a model."""
    add = parser.add_argument
    add("--resample", type=float, metavar="HZ", help="resample to this many samples per second (fMRI: 1 / TR)")
    add("--window", type=float, metavar="S", help="window in seconds (default: as in training)")
    text = "accept these differences from training"
    add("--accept", nargs="+", default=[], metavar="WHAT", choices=ACCEPTABLE, help=text)


def read_options(args: argparse.Namespace) -> ReadOptions:
    """ReadOptions from the arguments of `add_read_arguments`."""
    given = {name: getattr(args, name, None) for name in ReadOptions.model_fields}
    atlas = {"image": args.atlas, "labels": args.labels, "grid_mm": args.grid_mm, "name": args.atlas_name}
    given |= {
        "atlas": {key: value for key, value in atlas.items() if value is not None} or None,
        "channel_names": [name.strip() for name in args.channel_names.split(",")] if args.channel_names else None,
        "channel_types": dict(text.rpartition("=")[::2] for text in args.channel_types) or None,
        "max_bytes": None if args.max_bytes is None else int(args.max_bytes),
    }
    return ReadOptions.parse({name: value for name, value in given.items() if value is not None})


def without_later_parts(files: Sequence[str]) -> list[str]:
    """The files but those that are read with another one of them (parts of a split FIF file), which are said."""
    firsts = {file: first_part(Path(file)) for file in files}
    later = {file: first for file, first in firsts.items() if first is not None and str(first) in firsts}
    for file, first in later.items():
        say(f"{file}: left out: it is read with {first.name}")
    return [file for file in files if file not in later]


def read_file(file: str, args: argparse.Namespace, options: ReadOptions) -> Recording:
    """A recording as the options of reading and `--resample` say."""
    from ..prepare import resample

    recording = read(file, modality=args.modality, options=options)
    return recording if args.resample is None else resample(recording, args.resample)


def run(args: argparse.Namespace) -> int:
    path = user_path(args.target, ReadError)
    released = path.is_dir() and any((path / name).is_file() for name in _MODEL_FILES)
    if released or not path.exists():  # torch is imported only where a model is meant
        from ..model import presets
        from ..release import PRETRAINED
        from ..release import describe as describe_model

        if released or args.target == PRETRAINED:
            found = describe_model(path if released else PRETRAINED)
            return show(args, found, _model_lines(found))
        if path.suffix or len(path.parts) > 1:
            raise missing(path)
        try:
            found = presets.describe(args.target)
        except ConfigError:
            fix = missing(path).fix or did_you_mean(args.target, (PRETRAINED, *presets.PRESETS))
            raise ReadError("no such file or preset", file=args.target, fix=fix) from None
        return show(args, found, [_listing(found)])
    recording = read(path, modality=args.modality, options=read_options(args))
    values = describe(recording)
    values["notes"] = [in_options(note, args.options) for note in values["notes"]]
    return show(args, values, _lines(recording, values))


def describe(recording: Recording) -> dict[str, Any]:
    """What was understood of a recording, as plain values.

    `amplitude` is the median interquartile range of each sensor type, in its unit; `plausible` is false where it, an
    offset or a drift is larger or smaller than a brain produces (see `notes`).
    """
    channels, types = recording.channels, np.array(recording.channels.types)
    kinds = sorted(set(recording.channels.types))
    low, high = np.nanpercentile(recording.data[:, :: max(1, recording.n_times // 20_000)], (25, 75), axis=1)
    return {
        "file": recording.file,
        "format": recording.provenance.get("format"),
        "modality": recording.modality,
        "n_channels": recording.n_channels,
        "types": {kind: int((types == kind).sum()) for kind in kinds},
        "units": {kind: UNITS[kind] for kind in kinds},
        "sfreq": round(recording.sfreq, 6),
        "t_r": round(recording.t_r, 6) if recording.modality == "fmri" else None,
        "n_times": recording.n_times,
        "duration": round(recording.duration, 3),
        "positions": {"known": int(channels.located.sum()), "unknown": int((~channels.located).sum())},
        "frame": channels.frame,
        "atlas": channels.atlas,
        "entities": recording.entities,
        "events": {str(kind): int(n) for kind, n in recording.events.trial_type.value_counts().items()},
        "bads": list(recording.bads),
        "amplitude": {kind: _middle((high - low)[types == kind]) for kind in kinds},
        "plausible": not amplitude_problems(recording),
        "truncated": bool(recording.provenance.get("truncated", False)),
        "notes": recording.notes,
        "channels": list(channels.names),
    }


def _middle(spread: np.ndarray) -> float | None:
    finite = spread[np.isfinite(spread)]
    return float(f"{np.median(finite):.4g}") if finite.size else None


def _lines(recording: Recording, values: dict[str, Any]) -> list[str]:
    sizes = []
    for kind, size in values["amplitude"].items():
        unit, factor = SHOWN_UNITS[values["units"][kind]]
        sizes.append(f"{kind} unknown" if size is None else f"{kind} {size * factor:.3g} {unit}")
    amplitude = ", ".join(sizes)
    if recording.modality != "fmri":
        amplitude += " (plausible)" if values["plausible"] else " (NOT plausible, see the notes)"
    lines = [f"{name:<10} {text}" for name, text in {**recording.rows(), "amplitude": amplitude}.items()]
    return [*lines, *(f"note       {note}" for note in values["notes"])]


def _model_lines(found: dict[str, Any]) -> Iterator[str]:
    """What a model is, what it takes and what it was trained on; `--json` has the rest."""
    sizes, config, about = found.get("parameters", {}), found.get("config", {}), found.get("about", {})
    lines: dict[str, Any] = {"model": found.get("file") or found.get("model")}
    lines["parameters"] = f"{sizes.get('total', 0):,}"
    if "active" in sizes:
        lines["parameters"] += f" ({sizes['active']:,} active)"
    if config:
        width, depth = config["dim"], counted(config["backbone"]["depth"], "layer")
        latents = f"{config['sampler']['latents']} latents of width {width}"
        lines["shape"] = f"{latents}, {depth}, patches of {config['patch']} samples"
    for name, part in found.get("contract", {}).get("modalities", {}).items():
        rates = " or ".join(f"{rate:g}" for rate in part["sfreqs"])
        seconds = "-".join(f"{length:g}" for length in dict.fromkeys(part["window_seconds"]))
        atlases = f", atlas {', '.join(part['atlases'])}" if part.get("atlases") else ""
        steps = ", ".join(step["step"] for step in part["steps"])
        units = ", ".join(f"{kind} [{unit}]" for kind, unit in part["units"].items())
        lines[name] = f"{units}, {rates} Hz, windows of {seconds} s{atlases}; {steps}"
    if "steps" in about:
        lines["trained"] = f"{counted(about['steps'], 'step')}, seed {about.get('seed', 'not recorded')}"
    for each in about.get("data", ()):
        size = f"{counted(each.get('people', 0), 'subject')}, {counted(each.get('windows', 0), 'window')}"
        lines[f"  {each['dataset']}"] = f"{each.get('modality', '')}, {size}"
    for name, value in about.get("health", {}).items():
        if value.get("r2") is not None:
            other = value.get("r2_shuffled", np.nan)
            lines[f"  R2 {name}"] = f"{value['r2']:.2f} of hidden patches, {other:.2f} with latents of other windows"
    width = max(map(len, lines))
    yield from (f"{key:<{width}}  {value}" for key, value in lines.items())
    yield "all settings: --json"


def _listing(values: dict[str, Any], indent: str = "") -> str:
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", _listing(value, indent + "  ")]
        else:
            number = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
            lines.append(f"{indent}{key:<20} {number}")
    return "\n".join(line for line in lines if line)
