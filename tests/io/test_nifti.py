"""Rows 18-26 of the table of bad inputs: damaged images, headers, atlases and confounds; and what good ones give."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest

from brainof.errors import LabelError, ReadError
from brainof.io import ReadOptions, read
from brainof.io.regions import region_means


@pytest.fixture
def atlas(nifti):
    """Labels 10, 20, 30, 40: quarters along x of an 8 x 8 x 4 image."""
    values = np.repeat([10, 20, 30, 40], 2)[:, None, None] * np.ones((1, 8, 4), np.int16)
    return nifti(values.astype(np.int16), name="atlas.nii.gz")


def with_atlas(atlas, **more) -> ReadOptions:
    return ReadOptions.parse({"atlas": {"image": atlas.name}, **more})


def test_region_means_against_a_loop(nifti, bold, atlas):
    recording = read(nifti(bold), options=with_atlas(atlas))
    assert recording.modality == "fmri"
    assert recording.t_r == 2.0
    assert recording.channels.labels.tolist() == [10, 20, 30, 40]
    expected = [bold[2 * i : 2 * i + 2].reshape(-1, 20).astype(np.float64).mean(axis=0) for i in range(4)]
    np.testing.assert_allclose(recording.data, expected, rtol=1e-6)
    np.testing.assert_allclose(recording.channels.positions[0], [0.0015, 0.0105, 0.0045])
    assert recording.bads == ()


def test_region_means_are_those_of_nilearn(bold):
    import nibabel as nib
    from nilearn.maskers import NiftiLabelsMasker

    labels = np.random.default_rng(3).integers(0, 6, bold.shape[:3]).astype(np.int32) * 7
    masker = NiftiLabelsMasker(nib.Nifti1Image(labels, np.eye(4)), standardize=None)
    expected = masker.fit_transform(nib.Nifti1Image(bold, np.eye(4))).T
    means = region_means(bold, labels, np.array([35, 7, 14, 99, 28, 21]))
    np.testing.assert_allclose(means[[1, 2, 5, 4, 0]], expected, rtol=1e-6)
    assert not means[3].any()


def test_a_coarser_atlas_is_brought_to_the_image(nifti, bold):
    coarse = np.arange(1, 9).reshape(2, 2, 2).astype(np.int16)
    affine = np.diag([12.0, 12.0, 6.0, 1.0])
    affine[:3, 3] = 4.5, 4.5, 1.5
    recording = read(nifti(bold), options=with_atlas(nifti(coarse, name="coarse.nii.gz", affine=affine)))
    expected = bold[:4, :4, :2].reshape(-1, 20).mean(axis=0)
    np.testing.assert_allclose(recording.data[0], expected, rtol=1e-5)


def test_grid_of_voxels_is_the_image_itself(nifti, bold):
    bold[4:] = 0
    recording = read(nifti(bold), options=ReadOptions.parse({"atlas": {"grid_mm": 3}}))
    np.testing.assert_allclose(recording.data, bold[:4].reshape(-1, 20), rtol=1e-6)
    np.testing.assert_allclose(recording.channels.positions[1], [0, 0, 0.003])
    assert recording.channels.frame == "scanner"


def test_a_slice_and_a_mask_file(nifti, bold):
    plane = nifti(bold[:, :, :1], name="plane.nii.gz")
    assert read(plane, options=ReadOptions.parse({"atlas": {"grid_mm": 6}})).n_channels == 16
    inside = np.zeros((8, 8, 1), np.uint8)
    inside[:2, :2] = 1
    nifti(inside, name="inside.nii.gz")
    masked = read(plane, options=ReadOptions.parse({"atlas": {"grid_mm": 3, "mask": "inside.nii.gz"}}))
    assert masked.n_channels == 4
    nifti(inside[:4], name="inside.nii.gz")
    with pytest.raises(ReadError, match="not on the grid"):
        read(plane, options=ReadOptions.parse({"atlas": {"grid_mm": 3, "mask": "inside.nii.gz"}}))


def test_the_bids_name_tells_the_space_and_the_events(nifti, bold, tmp_path):
    path = nifti(bold, name="sub-1_task-x_space-MNI152_bold.nii.gz")
    (tmp_path / "sub-1_task-x_events.tsv").write_text("onset\tduration\ttrial_type\n4\t2\tface\n99\t2\tface\n")
    recording = read(path, options=ReadOptions.parse({"atlas": {"grid_mm": 6}}))
    assert recording.channels.frame == "mni"
    assert recording.entities["task"] == "x"
    assert len(recording.events) == 2
    assert any("1 of these events begin after the end" in note for note in recording.notes)


def test_row_18_a_gzip_bomb_is_refused_by_its_header(nifti, bold, tmp_path):
    header = bytearray(gzip.decompress(nifti(bold).read_bytes())[:352])
    header[40:56] = struct.pack("<8h", 4, 512, 512, 512, 32, 1, 1, 1)
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(bytes(header) + bytes(20_000_000)))
    with pytest.raises(ReadError, match=r"GB of samples.*max_bytes"):
        read(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_row_19_a_header_larger_than_the_file(nifti, bold, suffix):
    path = nifti(bold, name=f"bold{suffix}")
    content = path.read_bytes() if suffix == ".nii" else gzip.decompress(path.read_bytes())
    content = content[:40] + struct.pack("<8h", 4, 900, 900, 900, 2, 1, 1, 1) + content[56:1024]
    path.write_bytes(content if suffix == ".nii" else gzip.compress(content))
    with pytest.raises(ReadError, match="shape 900x900x900x2 needs"):
        read(path)


def test_row_20_a_cut_image(nifti, bold, atlas):
    path = nifti(bold)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ReadError, match=r"bold\.nii\.gz: data cannot be read"):
        read(path, options=with_atlas(atlas))


@pytest.mark.parametrize(
    ("t_r", "word"), [(0.0, "TR 0 s"), (2500.0, "looks like milliseconds; give t_r=2.5"), (25.0, "TR 25 s; give")]
)
def test_rows_21_22_impossible_repetition_times(nifti, bold, atlas, t_r, word):
    path = nifti(bold, t_r=t_r)
    with pytest.raises(ReadError, match=word):
        read(path, options=with_atlas(atlas))
    assert read(path, options=with_atlas(atlas, t_r=2.5)).t_r == 2.5


def test_seconds_that_are_marked_as_milliseconds(nifti, bold, atlas):
    """parrec2nii wrote seconds with the unit msec (nibabel #931)."""
    path = nifti(bold, name="bold.nii", patches=[(123, b"\x12")])
    with pytest.raises(ReadError, match="TR 0.002 s looks like seconds marked as milliseconds; give t_r=2"):
        read(path, options=with_atlas(atlas))


@pytest.mark.parametrize(("code", "t_r"), [(0x04 | 0x08, 2.0), (0x02, 2.0), (0x12, None), (0x20, None), (0x38, None)])
def test_codes_of_the_time_unit(nifti, bold, atlas, code, t_r):
    """An unknown code of space says nothing about time; a frequency is no TR."""
    path = nifti(bold, name="bold.nii", patches=[(123, bytes([code]))])
    if t_r is not None:
        assert read(path, options=with_atlas(atlas)).t_r == t_r
    else:
        with pytest.raises(ReadError, match=r"pixdim\[4\]: TR .* give t_r"):
            read(path, options=with_atlas(atlas))


def test_a_flipped_bit_in_a_gz_is_seen_by_its_checksum(nifti, bold, atlas):
    path = nifti(np.rint(bold).astype(np.int16))
    content, random = path.read_bytes(), np.random.default_rng(0)
    for place in random.integers(400, len(content), 20):
        spoiled = bytearray(content)
        spoiled[place] ^= 1 << int(random.integers(8))
        path.write_bytes(spoiled)
        with pytest.raises(ReadError, match=r"bold\.nii\.gz: (data )?cannot be read"):
            read(path, options=with_atlas(atlas))


def test_row_22_a_negative_repetition_time(nifti, bold, atlas):
    path = nifti(bold, name="bold.nii", patches=[(76 + 16, struct.pack("<f", -2.0))])
    with pytest.raises(ReadError, match=r"pixdim\[4\]: TR -2 s"):
        read(path, options=with_atlas(atlas))


def test_the_sidecar_wins_over_the_header_and_is_inherited(nifti, bold, atlas, tmp_path):
    (tmp_path / "task-x_bold.json").write_text(json.dumps({"RepetitionTime": 1.5}))
    recording = read(nifti(bold, name="sub-1_task-x_bold.nii.gz"), options=with_atlas(atlas))
    assert recording.t_r == 1.5
    assert any("1.5 s in task-x_bold.json and 2 s in the header" in note for note in recording.notes)
    (tmp_path / "task-x_bold.json").write_text("{")
    with pytest.raises(ReadError, match=r"task-x_bold\.json"):
        read(tmp_path / "sub-1_task-x_bold.nii.gz", options=with_atlas(atlas))


def test_row_23_a_single_volume(nifti, bold, atlas):
    with pytest.raises(ReadError, match="shape 8x8x4 is 3-D"):
        read(nifti(bold[..., 0]), options=with_atlas(atlas))
    with pytest.raises(ReadError, match="one sample"):
        read(nifti(bold[..., :1]), options=with_atlas(atlas))


def test_row_24_damaged_voxels_do_not_count(nifti, bold, atlas):
    expected = bold[:2].reshape(-1, 20)[1:].astype(np.float64).mean(axis=0)
    bold[0, 0, 0, 3] = np.nan
    bold[2:4] = 1e30
    recording = read(nifti(bold), options=with_atlas(atlas))
    np.testing.assert_allclose(recording.data[0], expected, rtol=1e-6)
    assert recording.bads == ("20",)
    assert not recording.data[1].any()


def test_row_25_columns_stay_when_regions_are_lost(nifti, bold, atlas):
    shifted = np.diag([3.0, 3.0, 3.0, 1.0])
    shifted[0, 3] = 9.0  # the image begins in the middle of region 20
    recording = read(nifti(bold, affine=shifted), options=with_atlas(atlas))
    assert recording.channels.labels.tolist() == [10, 20, 30, 40]
    assert recording.bads == ("10",)
    assert recording.provenance["coverage"] == {"10": 0.0, "20": 0.5}
    np.testing.assert_allclose(recording.data[2], bold[1:3].reshape(-1, 20).mean(axis=0), rtol=1e-5)
    shifted[0, 3] = 900.0
    with pytest.raises(ReadError, match="no region of atlas lies in the image"):
        read(nifti(bold, affine=shifted), options=with_atlas(atlas))


def test_row_26_confounds(nifti, bold, atlas, tmp_path):
    path = nifti(bold)
    drift = np.linspace(-1, 1, 20)
    table = tmp_path / "moves.tsv"
    table.write_text("trans_x\ttrans_y\n" + "".join(f"{x}\t{x * x}\n" for x in drift))
    plain = read(path, options=with_atlas(atlas)).data.astype(np.float64)
    cleaned = read(path, options=with_atlas(atlas, confounds={"file": "moves.tsv", "columns": ["trans_*"]})).data
    design = np.stack([np.ones(20), drift, drift**2])
    fit = np.linalg.lstsq(design.T, plain.T, rcond=None)[0]
    np.testing.assert_allclose(
        cleaned, plain - fit[1:].T @ (design[1:] - design[1:].mean(axis=1, keepdims=True)), rtol=1e-5
    )
    with pytest.raises(LabelError, match="no column 'trans_z'; did you mean 'trans_"):
        read(path, options=with_atlas(atlas, confounds={"file": "moves.tsv", "columns": ["trans_z"]}))
    table.write_text("trans_x\n" + "1\n" * 18)
    with pytest.raises(LabelError, match="18 rows for 20 volumes"):
        read(path, options=with_atlas(atlas, confounds="moves.tsv"))
    with pytest.raises(ReadError, match=r"gone\.tsv"):
        read(path, options=with_atlas(atlas, confounds="gone.tsv"))


def test_fmriprep_confounds_are_found_by_name(nifti, bold, atlas, tmp_path):
    path = nifti(bold, name="sub-1_task-x_space-MNI_desc-preproc_bold.nii.gz")
    rows = "".join(f"{'n/a' if i == 0 else i}\n" for i in range(20))
    (tmp_path / "sub-1_task-x_desc-confounds_timeseries.tsv").write_text("framewise\n" + rows)
    assert "1 confounds were removed" in read(path, options=with_atlas(atlas, confounds={})).notes


def test_an_image_needs_regions(nifti, bold):
    with pytest.raises(
        ReadError,
        match="atlas: is needed for a 4-D image; give a label image with atlas.image=, or cubes with atlas.grid_mm=",
    ):
        read(nifti(bold))
    with pytest.raises(ReadError, match="no eeg"):
        read(nifti(bold), modality="eeg")


def test_labels_of_the_image_that_the_table_lacks_are_noted(nifti, bold, tmp_path):
    labels = np.repeat([1, 2, 3, 4], 2)[:, None, None] * np.ones((8, 8, 4), np.int16)
    nifti(labels.astype(np.int16), name="atlas.nii.gz")
    (tmp_path / "l.csv").write_text("1,A\n2,B\n4,D\n")
    atlas = {"image": str(tmp_path / "atlas.nii.gz"), "labels": str(tmp_path / "l.csv")}
    recording = read(nifti(bold), options=ReadOptions.parse({"atlas": atlas}))
    assert recording.channels.names == ("A", "B", "D")
    assert any("the table lacks were left out: 3" in note for note in recording.notes)
