"""Windows at the resolution of networks: regions give way to the mean series of their networks (docs/decisions/0110).

Shape suffixes: B windows, C regions, K networks, T samples.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from ..channels import SENSOR_TYPES, Channels, network_of
from ..corpus import Windows
from ..errors import ConfigError, check_known
from ..io.text_table import read_text_table
from ..paths import user_path
from ..signals import Sensors, SignalBatch

#: Words that tell of a region below the cortex, which atlases of networks name by structure
_BELOW = {
    "cerebellum": re.compile(r"cerebel|vermis", re.IGNORECASE),
    "subcortex": re.compile(
        r"thalam|caudate|putamen|pallid|(?<!para)hippo|amygd|accumb|striat|brain.?stem|^(tha|cau|put|hip|amy|nac|gp)\b",
        re.IGNORECASE,
    ),
}


class Networks:
    """Which regions make up a network, by channel set.

    `members`: digest of a channel set -> rows of the regions of each network; sets whose regions name none are left
    out. A ConfigError where no set names two networks, or a table is of no atlas of the corpus or names none of its
    regions.
    """

    def __init__(self, rows: pd.DataFrame, corpora: Windows, tables: Mapping[str, str]) -> None:
        fmri = rows[rows["modality"].astype(str) == "fmri"]
        self.set_of = fmri["channel_set"]
        sets = {digest: corpora.channels(digest) for digest in map(str, self.set_of.unique())}
        field = "objective.view.networks"
        for atlas in tables:
            check_known(atlas, {str(channels.atlas) for channels in sets.values()}, ConfigError, field=field)
        known = {atlas: read_networks(path) for atlas, path in tables.items()}
        self.members = {}
        for digest, channels in sets.items():
            atlas = str(channels.atlas)
            if groups := network_rows(channels, known.get(atlas)):
                self.members[digest] = groups
            elif atlas in tables:
                text, fix = f"names no two networks of {atlas}", f"write names such as {channels.names[0]}"
                raise ConfigError(text, file=tables[atlas], field="name", fix=fix)
        if not self.members:
            atlases = sorted({str(channels.atlas) for channels in sets.values()})
            raise ConfigError(
                f"names of regions tell no networks ({', '.join(atlases) or 'no fMRI'})",
                field="objective.terms.networks",
                fix="give tables of name and network in objective.view.networks, or leave the term out",
            )

    def __call__(self, batch: SignalBatch) -> SignalBatch | None:
        """The batch at the resolution of its networks, other windows whole; None where no window has any."""
        members_B = [self.members.get(str(self.set_of.get(row)), []) for row in batch.rows]
        return at_networks(batch, members_B) if any(members_B) else None


def network_rows(channels: Channels, table: Mapping[str, str] | None = None) -> list[np.ndarray]:
    """Rows of the regions of each network, by the names of the regions or a table; empty where there are not two.

    Regions of no network are in none. Names of structures below the cortex count beside two networks of the cortex.
    """
    if table is not None:
        named = [table.get(name, "") for name in channels.names]
    else:
        below = [next((place for place, word in _BELOW.items() if word.search(name)), "") for name in channels.names]
        cortex = [network_of(name) * (not place) for name, place in zip(channels.names, below, strict=True)]
        named = [one or other for one, other in zip(cortex, below, strict=True)] if len({*cortex, ""}) > 2 else []
    groups = [np.flatnonzero(np.array(named) == network) for network in sorted({*named} - {""})]
    return groups if len(groups) > 1 else []


def read_networks(path: str) -> dict[str, str]:
    """Name of a region -> network, of a table (.csv, .tsv) with the columns `name` and `network`; or a ConfigError."""
    file = user_path(path)
    table, _ = read_text_table(file, error=ConfigError)
    for column in ("name", "network"):
        if column not in table:
            raise ConfigError("the table lacks this column", file=file, field=column, fix="give name and network")
    return dict(zip(table["name"], table["network"], strict=True))


def at_networks(batch: SignalBatch, members_B: list[list[np.ndarray]]) -> SignalBatch:
    """Each window as the mean series of the good regions of its networks; whole where it has no `members`.

    A mean has less amplitude than what it is of: it is scaled to the mean standard deviation of its regions, as a
    recording of networks would be standardised. A network lies at the mean position of its regions and has the place of
    its middle region in the atlas; without a good region it is bad.
    """
    most = max(len(members) or batch.signal_BCT.shape[1] for members in members_B)
    B, T = len(batch), batch.signal_BCT.shape[2]
    signal_BKT, good_BK = batch.signal_BCT.new_zeros(B, most, T), torch.zeros(B, most, dtype=torch.bool)
    sensors = Sensors(
        position_BC3=torch.zeros(B, most, 3),
        located_BC=torch.zeros(B, most, dtype=torch.bool),
        orientation_BC3=torch.zeros(B, most, 3),
        type_BC=torch.full((B, most), SENSOR_TYPES.index("roi")),
        order_BC=torch.full((B, most), -1),
    )
    for place, members in enumerate(members_B):
        own = batch.sensors.take_windows(torch.tensor([place]))
        n_times = int(batch.n_times_B[place])
        for network, regions in enumerate(members or np.arange(batch.signal_BCT.shape[1])[:, None]):
            good = torch.from_numpy(regions)[batch.channel_mask_BC[place, regions]]
            if not len(good):
                continue
            good_BK[place, network] = True
            series_CT = batch.signal_BCT[place, good, :n_times]
            mean_T = series_CT.mean(0, dtype=torch.promote_types(series_CT.dtype, torch.float32))
            if len(good) > 1:
                spread = series_CT.to(mean_T.dtype).std(1, correction=0).mean()
                mean_T = mean_T * (spread / mean_T.std(correction=0).clip(min=1e-6))
            signal_BKT[place, network, :n_times] = mean_T
            located = good[own.located_BC[0, good]]
            sensors.located_BC[place, network] = len(located) > 0
            sensors.position_BC3[place, network] = own.position_BC3[0, located].sum(0) / max(len(located), 1)
            sensors.order_BC[place, network] = own.order_BC[0, good].sort().values[len(good) // 2]
    return replace(batch, signal_BCT=signal_BKT, channel_mask_BC=good_BK, sensors=sensors, checked=None)
