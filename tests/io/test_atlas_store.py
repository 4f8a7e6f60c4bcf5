from __future__ import annotations

import errno
import json
import socket
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainof.cli import main
from brainof.errors import FetchError, ReadError, StorageError
from brainof.io import ReadOptions, read
from brainof.io.atlas import KNOWN, fetch_atlas, is_here, label_centroids, open_atlas, sphere_labels


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("BRAINOF_ATLASES", str(tmp_path / "atlases"))
    return tmp_path / "atlases"


@pytest.mark.parametrize("name", ["power-264", "dosenbach-160", "seitzman-300"])
def test_coordinates_that_ship_with_nilearn(name):
    atlas = open_atlas(name)
    assert len(atlas) == KNOWN[name].n_regions
    assert (atlas.sha256, atlas.frame) == (KNOWN[name].sha256, "mni")
    labels = np.asanyarray(atlas.image.dataobj)
    painted = label_centroids(labels, atlas.image.affine, atlas.ids)
    distance = np.linalg.norm(painted - atlas.centroids, axis=1)
    assert np.nanmax(distance) < 4e-3  # a sphere that touches another loses a piece
    assert np.isfinite(distance).all()


def test_spheres_by_a_loop_over_all_voxels():
    points = np.array([[0.0, 0.0, 0.0], [0.006, 0.001, 0.0], [-0.0895, -0.1255, -0.0715]])
    labels = sphere_labels(points, 5e-3)
    index = np.indices((91, 109, 91)).reshape(3, -1).T
    places = (index * 2 + np.array([-90, -126, -72])) / 1000
    distance = np.linalg.norm(places[:, None] - points, axis=-1)
    expected = np.where(distance.min(axis=1) <= 5e-3, distance.argmin(axis=1) + 1, 0)
    np.testing.assert_array_equal(labels.ravel(), expected)


def test_an_image_through_an_atlas_by_name(nifti):
    atlas = open_atlas("power-264")
    labels = np.asanyarray(atlas.image.dataobj)[::3, ::3, ::3].astype(np.float32)
    affine = atlas.image.affine @ np.diag([3.0, 3, 3, 1])
    path = nifti(np.repeat(labels[..., None], 4, axis=3) + 1, affine=affine, name="run_space-MNI_bold.nii.gz")
    recording = read(path, options=ReadOptions.parse({"atlas": {"name": "power-264"}}))
    assert recording.n_channels == 264
    there = recording.data[:, 0] > 0
    np.testing.assert_allclose(recording.data[there, 0], recording.channels.labels[there] + 1)
    assert recording.provenance["atlas"]["sha256"] == KNOWN["power-264"].sha256
    assert not any("known digest" in note for note in recording.notes)
    with pytest.raises(ReadError, match="was not fetched; `brainof atlas fetch schaefer-100`"):
        read(path, options=ReadOptions.parse({"atlas": {"name": "schaefer-100"}}))


def test_an_unknown_digest_is_noted(nifti, bold, tmp_path):
    labels = np.ones(bold.shape[:3], np.int16)
    nib.save(nib.Nifti1Image(labels, np.diag([3.0, 3, 3, 1])), tmp_path / "mine.nii.gz")
    recording = read(nifti(bold), options=ReadOptions.parse({"atlas": {"image": str(tmp_path / "mine.nii.gz")}}))
    assert any("atlas mine has no known digest" in note for note in recording.notes)


def test_without_a_network_it_is_one_sentence(folder, monkeypatch, capsys):
    def blocked(*args, **kwargs):
        raise OSError("network is unreachable")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, blocked)
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, blocked)
    assert main(["atlas", "fetch", "schaefer-100"]) == 3
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith("brainof: atlas schaefer-100: cannot be downloaded")
    assert said.err.count("\n") == 1
    assert "give your own file" in said.err
    assert not list(folder.iterdir())  # nothing half-made stays
    assert main(["atlas", "fetch", "shaefer-100"]) == 2
    assert "did you mean 'schaefer-100'" in capsys.readouterr().err


@pytest.fixture
def served(tmp_path, monkeypatch):
    """nilearn's fetcher, without the network."""
    labels = np.zeros((6, 6, 6), np.int16)
    labels[:2], labels[4:] = 20, 10

    def fetch(data_dir, verbose, **arguments):
        assert arguments == {"version": "SPM12"}
        Path(data_dir).mkdir()
        path = Path(data_dir) / "AAL.nii"
        nib.save(nib.Nifti1Image(labels, np.eye(4) * 2), path)
        lut = pd.DataFrame({"index": [0, 20, 10], "name": ["Background", "left", "right"]})
        return {"maps": str(path), "lut": lut}

    monkeypatch.setattr("nilearn.datasets.fetch_atlas_aal", fetch)


def test_a_fetched_atlas_is_kept_with_its_digest(served, folder, capsys):
    assert not is_here("aal")
    assert main(["atlas", "fetch", "aal", "--json"]) == 0
    fetched = json.loads(capsys.readouterr().out)
    atlas = open_atlas("aal")
    assert (atlas.ids.tolist(), atlas.names) == ([20, 10], ("left", "right"))  # the order of its table
    assert fetched["sha256"] == atlas.sha256
    assert main(["atlas", "list", "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)["atlases"]}
    assert (listed["aal"]["state"], listed["aal"]["sha256"]) == ("fetched", atlas.sha256)
    assert listed["schaefer-100"]["state"] == "not here"
    assert sorted(path.name for path in (folder / "aal").iterdir()) == ["atlas.json", "atlas.nii.gz", "labels.tsv"]
    image = folder / "aal" / "atlas.nii.gz"
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    with pytest.raises(ReadError, match="is not the file that was fetched"):
        open_atlas("aal")


def test_a_folder_in_the_way_and_a_refused_download(served, folder, monkeypatch):
    monkeypatch.setenv("BRAINOF_ATLASES", "/proc/atlases")
    assert main(["atlas", "fetch", "aal"]) == 3
    monkeypatch.setenv("BRAINOF_ATLASES", str(folder))
    monkeypatch.setattr("nilearn.datasets.fetch_atlas_aal", lambda **_: 1 / 0)
    with pytest.raises(FetchError, match="division by zero"):
        fetch_atlas("aal")


@pytest.mark.parametrize("place", ["nilearn.datasets.fetch_atlas_aal", "nibabel.save", "os.replace"])
def test_a_full_disk_leaves_nothing_and_is_no_lost_connection(served, folder, monkeypatch, place):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(place, full)
    with pytest.raises(StorageError, match="No space left on device.; free some space there, or set BRAINOF_ATLASES"):
        fetch_atlas("aal")
    assert not list(folder.iterdir())


def test_what_comes_instead_of_an_atlas_is_named(served, folder, monkeypatch, tmp_path):
    (tmp_path / "page.nii").write_text("<html>")
    monkeypatch.setattr("nilearn.datasets.fetch_atlas_aal", lambda **_: {"maps": str(tmp_path / "page.nii")})
    with pytest.raises(FetchError, match="atlas aal: cannot be downloaded"):
        fetch_atlas("aal")
    assert not list(folder.iterdir())


def test_list_prints_a_line_per_atlas(capsys):
    assert main(["atlas", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(KNOWN) + 1
    assert "power-264" in lines[0]
    assert "a052a4231d72" in lines[0]
