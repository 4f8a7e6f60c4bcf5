"""A tri-modal cohort with known truth: EEG, MEG and fMRI of the same simulated brains."""

from .cohort import Subject, Truth, cohort, simulate_subject
from .parameters import CohortParameters

__all__ = ["CohortParameters", "Subject", "Truth", "cohort", "simulate_subject"]
