from __future__ import annotations

import numpy as np
import pytest

from brainof.simulate.montages import SPHERE_CENTRE, SPHERE_RADIUS
from brainof.simulate.regions import NETWORKS, make_regions


@pytest.mark.parametrize("n", [16, 100, 400])
def test_regions_are_mirrored_inside_the_head_and_apart(n):
    regions = make_regions(n)
    left, right = regions.positions[: n // 2], regions.positions[n // 2 :]
    assert len(set(regions.names)) == n
    np.testing.assert_allclose(left * [-1, 1, 1], right)
    assert (left[:, 0] < 0).all()
    # inside the innermost sphere of the head model, with room for the shells
    assert np.linalg.norm(regions.positions - SPHERE_CENTRE, axis=1).max() < 0.9 * SPHERE_RADIUS
    np.testing.assert_allclose(np.linalg.norm(regions.orientations, axis=1), 1)
    apart = regions.distances[: n // 2, : n // 2][~np.eye(n // 2, dtype=bool)]
    assert apart.min() > 0.08 * np.sqrt(1 / n)  # quasi-uniform: no two of a hemisphere on top of each other


def test_every_network_is_there_and_lies_where_it_should():
    regions = make_regions(100)
    assert set(regions.networks) == set(NETWORKS)
    place = {network: regions.mni[regions.networks == network].mean(axis=0) for network in NETWORKS}
    assert min(place, key=lambda network: place[network][1]) == "visual"
    assert place["somatomotor"][2] > place["auditory"][2]


def test_structure_is_a_row_normalised_coupling_with_homotopic_links():
    regions = make_regions(100)
    weight = regions.structure()
    np.testing.assert_allclose(weight.sum(axis=1), 1)
    assert (np.diag(weight) == 0).all()
    far = regions.distances[0] > 0.08
    assert weight[0, 50] > np.median(weight[0, far])


def test_channel_table_keeps_atlas_order():
    table = make_regions(100).channels(10)
    assert table.order.tolist() == list(range(10))
    assert table.labels.tolist() == list(range(1, 11))
    assert (table.frame, table.atlas) == ("mni", "simulated-100")


def test_any_set_of_regions_can_be_picked():
    regions = make_regions(100)
    table = regions.channels(["default", "R_visual_1", "L_visual_2"])
    expected = [n for n in regions.names if "default" in n or n in ("R_visual_1", "L_visual_2")]
    assert list(table.names) == expected
    assert [regions.names[label - 1] for label in table.labels] == expected
    assert table.order.tolist() == list(range(len(expected)))
    assert table.atlas != regions.channels().atlas
    assert table.atlas == regions.channels(["L_visual_2", "R_visual_1", "default"]).atlas
