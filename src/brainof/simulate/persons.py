"""Who is in the cohort: group, site, age, sex and the individual traits that follow from them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from .parameters import CohortParameters
from .regions import NETWORKS, Regions

GROUPS = ("control", "patient")
RHYTHMS = ("theta", "alpha", "beta")


def stream(seed: int, subject: int, name: str) -> np.random.Generator:
    """Random numbers of one purpose of one subject: what is switched off or added elsewhere changes nothing in them."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, subject, zlib.crc32(name.encode())])))


@dataclass(frozen=True, eq=False)
class Person:
    """Traits of one subject; what the sources and sensors are made from."""

    name: str  # BIDS subject label, "001"
    group: str
    site: str
    sex: str
    age: float  # years
    alpha_frequency: float  # individual alpha peak, Hz
    exponent: float  # of the 1/f background
    log_amplitude: dict[str, np.ndarray]  # of each rhythm, by region (equal within a network), (n_regions,)
    loadings: np.ndarray  # (n_regions,): loading of each region's slow activity on its network
    orientations: np.ndarray  # (n_regions, 3): individual current directions
    log_gain: float  # of every sensor at the site
    log_noise: float  # of the noise at the site
    starts_with_task: bool  # counterbalanced order of the blocks

    def labels(self) -> dict[str, Any]:
        """The scalar traits, as written to participants.tsv."""
        return {name: getattr(self, name) for name in ("group", "site", "sex", "age", "alpha_frequency", "exponent")}


def make_person(parameters: CohortParameters, index: int, regions: Regions) -> Person:
    """The traits of subject number `index` (from 0), a pure function of (parameters, index)."""
    effects = parameters.effects
    # any prefix of the cohort is nearly balanced: a subject is a patient when the running count of patients steps up
    patient = int(np.floor((index + 1) * effects.group_balance) - np.floor(index * effects.group_balance))
    confounded = stream(parameters.seed, index, "design").random() < effects.site_confound
    site = (patient if confounded else index // 4 + index // 2 % 2) % effects.sites
    rng = stream(parameters.seed, index, "person")
    age = float(np.round(rng.uniform(20, 70), 1))
    alpha = parameters.sources.alpha.frequency + effects.age_alpha * (age - 45)
    alpha += effects.alpha_sd * (rng.standard_normal() - effects.group_alpha * patient)
    log_amplitude = {
        rhythm: effects.individual * rng.standard_normal(len(NETWORKS))[regions.network_index] for rhythm in RHYTHMS
    }
    loadings = np.clip(0.6 + 0.5 * effects.individual * rng.standard_normal(len(regions)), 0.05, 0.95)
    if patient:
        loadings = loadings * np.where(regions.networks == "default", 1 - effects.group_connectivity, 1.0)
    orientations = regions.orientations + 0.3 * rng.standard_normal(regions.orientations.shape)
    orientations /= np.linalg.norm(orientations, axis=1, keepdims=True)
    sex = "FM"[int(rng.integers(2))]
    exponent = parameters.sources.exponent + effects.age_exponent * (age - 45) + 0.1 * rng.standard_normal()
    return Person(
        name=f"{index + 1:03d}",
        group=GROUPS[patient],
        site=f"site{site + 1}",
        sex=sex,
        age=age,
        alpha_frequency=float(np.clip(alpha, 4, 16)),
        exponent=float(np.clip(exponent, 0, 3)),
        log_amplitude=log_amplitude,
        loadings=loadings,
        orientations=orientations,
        log_gain=effects.site_gain * site,
        log_noise=effects.site_noise * site,
        starts_with_task=bool(index // 2 % 2),
    )
