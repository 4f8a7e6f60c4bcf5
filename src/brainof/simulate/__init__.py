"""A tri-modal cohort with known truth: EEG, MEG and fMRI of the same simulated brains."""

from .parameters import CohortParameters
from .subjects import Subject, Truth, cohort, simulate_subject
from .tasks import TASKS, task_parameters

__all__ = ["TASKS", "CohortParameters", "Subject", "Truth", "cohort", "simulate_subject", "task_parameters"]
