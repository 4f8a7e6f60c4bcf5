"""`brainof simulate`: write a simulated tri-modal cohort with known truth."""

from __future__ import annotations

import argparse
from typing import Any

from ..utils.values import counted
from . import out, takes_assignments

EXAMPLE = """examples:
  brainof simulate --subjects 12 --out cohort
  brainof simulate --subjects 40 --modalities eeg,fmri --seconds 240 --channels 64 --out cohort
  brainof simulate --rois visual,default --eeg-format edf --out cohort
  brainof simulate --out cohort effects.state_strength=0.5 artefacts.blinks=0
  brainof prepare cohort/recipe_eeg.yaml --root cohort --out corpus"""

#: Options that are parameters of the same name
_OPTIONS = ("subjects", "seed", "seconds", "sfreq", "channels", "meg", "t_r", "rois")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="DIR", help="new folder for the BIDS tree")
    parser.add_argument("--subjects", type=int, metavar="N", help="number of subjects (12)")
    parser.add_argument("--modalities", default="eeg,meg,fmri", help="comma-separated (eeg,meg,fmri)")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of EEG and MEG (120)")
    parser.add_argument("--seed", type=int, help="the same seed gives the same files (0)")
    parser.add_argument("--sfreq", type=int, metavar="HZ", help="sampling rate of EEG and MEG (256)")
    parser.add_argument("--channels", type=int, metavar="N", help="EEG electrodes: 19, 32, 64 or 128 (32)")
    parser.add_argument("--meg", metavar="HELMET", help="neuromag306 or ctf275 (neuromag306)")
    parser.add_argument("--t-r", type=float, metavar="S", help="repetition time of fMRI (1.0)")
    parser.add_argument("--rois", metavar="N|NAMES", help="regions in fMRI: the first N, or names and networks (all)")
    parser.add_argument("--nifti", action="store_true", help="also write fMRI as 4-D images with a label atlas")
    parser.add_argument(
        "--eeg-format", default="brainvision", metavar="FORMAT", help="brainvision or edf (brainvision)"
    )
    parser.add_argument("--truth", action="store_true", help="also write source currents, activity and masks")
    takes_assignments(parser, "any other parameter, such as effects.state_strength=0.5")


def run(args: argparse.Namespace) -> int:
    from ..simulate.parameters import CohortParameters
    from ..simulate.write import write

    given: dict[str, Any] = {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
    if "rois" in given:
        names = [part.strip() for part in given["rois"].split(",") if part.strip()]
        given["rois"] = int(names[0]) if len(names) == 1 and names[0].lstrip("-").isdigit() else names
    modalities = [part.strip() for part in args.modalities.split(",") if part.strip()]
    parameters = CohortParameters.parse({**given, "modalities": modalities}, "simulate").replaced(
        args.assignments, "simulate"
    )
    root = write(parameters, args.out, nifti=args.nifti, truth=args.truth, eeg_format=args.eeg_format)
    out(f"{counted(parameters.subjects, 'subject')}, {', '.join(parameters.modalities)}: {root}")
    for modality in parameters.modalities:
        recipe = root / f"recipe_{modality}.yaml"
        out(f"  brainof prepare {recipe} --root {root} --out CORPUS")
    return 0
