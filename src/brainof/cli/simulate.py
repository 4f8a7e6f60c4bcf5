"""`brainof simulate`: write a simulated tri-modal cohort with known truth."""

from __future__ import annotations

import argparse

from ..utils.values import counted
from . import out, takes_assignments

EXAMPLE = """examples:
  brainof simulate --subjects 12 --out cohort
  brainof simulate --subjects 40 --modalities eeg,fmri --out cohort seconds=240 channels=64
  brainof simulate --eeg-format edf --out cohort "rois=[visual, default]"
  brainof simulate --out cohort effects.state_strength=0.5 artefacts.blinks=0
  brainof prepare cohort/recipe_eeg.yaml --root cohort --out corpus

Parameters: seconds and sfreq (of EEG and MEG), channels (19, 32, 64, 128), meg (neuromag306, ctf275), t_r, rois ..."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="new folder for the BIDS tree")
    add("--subjects", type=int, default=12, metavar="N", help="number of subjects (12)")
    add("--modalities", default="eeg,meg,fmri", help="comma-separated (eeg,meg,fmri)")
    add("--seed", type=int, default=0, help="the same seed gives the same files (0)")
    add("--nifti", action="store_true", help="also write fMRI as 4-D images with a label atlas")
    add("--eeg-format", default="brainvision", metavar="FORMAT", help="brainvision or edf (brainvision)")
    add("--truth", action="store_true", help="also write source currents, activity and masks")
    takes_assignments(parser, "any other parameter, such as effects.state_strength=0.5")


def run(args: argparse.Namespace) -> int:
    from ..simulate.parameters import CohortParameters
    from ..simulate.write import write

    modalities = [part.strip() for part in args.modalities.split(",") if part.strip()]
    given = {"subjects": args.subjects, "seed": args.seed, "modalities": modalities}
    parameters = CohortParameters.parse(given, "simulate").replaced(args.assignments, "simulate")
    root = write(parameters, args.out, nifti=args.nifti, truth=args.truth, eeg_format=args.eeg_format)
    out(f"{counted(parameters.subjects, 'subject')}, {', '.join(parameters.modalities)}: {root}")
    for modality in parameters.modalities:
        recipe = root / f"recipe_{modality}.yaml"
        out(f"  brainof prepare {recipe} --root {root} --out CORPUS")
    return 0
