from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest

from brainof.errors import ReadError
from brainof.io import ReadOptions, read
from brainof.io.atlas import label_centroids, load_atlas
from brainof.io.options import AtlasOptions


@pytest.fixture
def labels() -> np.ndarray:
    values = np.zeros((4, 4, 4), np.int16)
    values[0, 0, :2], values[3, 1:3, 0], values[2, 2, 2] = 5, 2, 9
    return values


def test_order_and_names_come_from_the_table(nifti, labels, tmp_path):
    image = nifti(labels, zoom=2.0, name="parcels_MNI.nii.gz")
    (tmp_path / "names.tsv").write_text("index\tname\n9\tc\n5\ta\n77\tgone\n")
    atlas = load_atlas(AtlasOptions(image=image.name, labels="names.tsv"), tmp_path)
    assert atlas.ids.tolist() == [9, 5, 77]
    assert atlas.names == ("c", "a", "gone")
    assert atlas.frame == "mni"
    assert atlas.sha256 == hashlib.sha256(image.read_bytes()).hexdigest()
    np.testing.assert_allclose(atlas.centroids[:2], [[0.004, 0.004, 0.004], [0, 0, 0.001]])
    assert np.isnan(atlas.centroids[2]).all()


def test_without_a_table_ids_ascend(nifti, labels, tmp_path):
    channels = load_atlas(AtlasOptions(image=nifti(labels).name), tmp_path).channels()
    assert channels.names == ("2", "5", "9")
    assert channels.labels.tolist() == [2, 5, 9]
    assert channels.order.tolist() == [0, 1, 2]
    assert channels.frame == "scanner"


def test_centroids_against_a_loop(labels):
    affine = np.array([[-2, 0, 0, 90], [0, 2, 0.5, -126], [0, 0, 2, -72], [0, 0, 0, 1.0]])
    for label, found in zip((2, 5, 9), label_centroids(labels, affine, np.array([2, 5, 9])), strict=True):
        voxels = np.argwhere(labels == label)
        world = np.mean([affine[:3, :3] @ voxel + affine[:3, 3] for voxel in voxels], axis=0)
        np.testing.assert_allclose(found, world / 1000)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.ones((3, 3, 3, 2), np.int16), "not 3-D"),
        (np.full((3, 3, 3), 0.4, np.float32), "not label ids"),
        (np.zeros((3, 3, 3), np.int16), "holds no labels"),
    ],
)
def test_wrong_images_are_refused(nifti, tmp_path, values, word):
    with pytest.raises(ReadError, match=word):
        load_atlas(AtlasOptions(image=nifti(values, name="atlas.nii.gz").name), tmp_path)


def test_a_missing_atlas_is_named(tmp_path):
    with pytest.raises(ReadError, match=r"nowhere\.nii: atlas\.image: file not found"):
        load_atlas(AtlasOptions(image="nowhere.nii"), tmp_path)


def test_ids_may_be_as_large_as_those_of_the_allen_atlas(nifti, bold):
    values = np.zeros((8, 8, 4), np.int32)
    values[0], values[1], values[2] = 5, 614_454_277, 589_508_447
    tracemalloc.start()
    image = nifti(values, name="allen.nii.gz")
    recording = read(nifti(bold), options=ReadOptions.parse({"atlas": {"image": image.name}}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert recording.channels.labels.tolist() == [5, 589_508_447, 614_454_277]
    np.testing.assert_allclose(recording.data[1], bold[2].reshape(-1, 20).mean(axis=0), rtol=1e-6)
    assert peak < 50e6


@pytest.mark.parametrize(
    ("what", "damage"),
    [(what, damage) for what in ("image", "mask") for damage in ("cut", "empty", "text", "flipped")]
    + [("image", "huge")],
)
def test_a_damaged_atlas_or_mask_is_named(nifti, bold, what, damage):
    values = np.full((8, 8, 4), 1e30) if damage == "huge" else np.ones((8, 8, 4), np.int16)
    nifti(np.ones((8, 8, 4), np.int16), name="sound.nii.gz")
    path = nifti(values, name="odd.nii.gz")
    content = path.read_bytes()
    spoiled = {
        "cut": content[: len(content) // 2],
        "empty": b"",
        "text": b"see the other folder",
        "flipped": content[:40] + bytes([content[40] ^ 255]) + content[41:],
        "huge": content,
    }
    path.write_bytes(spoiled[damage])
    options = {"image": "sound.nii.gz", "mask": "sound.nii.gz", what: "odd.nii.gz"}
    with pytest.raises(ReadError, match=r"odd\.nii\.gz"):
        read(nifti(bold), options=ReadOptions.parse({"atlas": options}))
