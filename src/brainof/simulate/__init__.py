"""A tri-modal cohort with known truth: EEG, MEG and fMRI of the same simulated brains."""

from .parameters import TASKS, CohortParameters, task_parameters
from .subjects import Subject, Truth, cohort, simulate_subject

__all__ = ["TASKS", "CohortParameters", "Subject", "Truth", "cohort", "simulate_subject", "task_parameters"]
