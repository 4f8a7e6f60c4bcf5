"""A tri-modal cohort with known truth: EEG, MEG and fMRI of the same simulated brains."""

from .cohort import Subject, Truth, cohort, simulate_subject
from .parameters import CohortParameters
from .tasks import TASKS, task_parameters
from .write import write

__all__ = ["TASKS", "CohortParameters", "Subject", "Truth", "cohort", "simulate_subject", "task_parameters", "write"]
