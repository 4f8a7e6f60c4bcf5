"""CIFTI and GIFTI files that the tests build with nibabel, against plain means over the same arrays."""

from __future__ import annotations

import os

import nibabel as nib
import numpy as np
import pytest
from nibabel import cifti2
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiLabel, GiftiLabelTable

from brainof.errors import ReadError
from brainof.io import ReadOptions, read

N_TIMES, N_VERTICES = 12, 10
AFFINE = np.diag([2.0, 2, 2, 1])
LEFT, RIGHT = "CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"


@pytest.fixture
def axis():
    """Left cortex without its first vertex, right cortex, and five thalamus voxels."""
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 1:3, 1:3] = mask[3, 3, 3] = True
    return (
        cifti2.BrainModelAxis.from_surface(np.arange(1, N_VERTICES), N_VERTICES, "CortexLeft")
        + cifti2.BrainModelAxis.from_surface(np.arange(N_VERTICES), N_VERTICES, "CortexRight")
        + cifti2.BrainModelAxis.from_mask(mask, name="ThalamusLeft", affine=AFFINE)
    )


@pytest.fixture
def data(axis):
    return np.random.default_rng(0).normal(100, 5, (N_TIMES, len(axis))).astype(np.float32)


def save(path, values, first, second):
    cifti2.Cifti2Image(values, header=(first, second)).to_filename(path)
    return path


@pytest.fixture
def dtseries(tmp_path, data, axis):
    return save(
        tmp_path / "sub-01_task-rest_space-fsLR_bold.dtseries.nii", data, cifti2.SeriesAxis(0, 0.8, N_TIMES), axis
    )


@pytest.fixture
def atlas(tmp_path, axis):
    """A dlabel file of one region per structure."""
    table = {0: ("???", (0, 0, 0, 0)), 1: ("LEFT", (1, 0, 0, 1)), 2: ("RIGHT", (0, 1, 0, 1)), 3: ("THALAMUS", (0,) * 4)}
    names = [LEFT, RIGHT, "CIFTI_STRUCTURE_THALAMUS_LEFT"]
    labels = np.array([names.index(name) + 1 for name in axis.name], dtype=np.float32)
    path = save(tmp_path / "three.dlabel.nii", labels[None], cifti2.LabelAxis(["x"], [table]), axis)
    return ReadOptions.parse({"atlas": {"image": str(path)}})


def test_regions_in_the_volume_have_the_places_of_their_voxels(dtseries, data, atlas):
    recording = read(dtseries, options=atlas)
    assert recording.channels.names == ("LEFT", "RIGHT", "THALAMUS")
    np.testing.assert_allclose(recording.data[0], data[:, :9].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(recording.data[2], data[:, 19:].mean(axis=1), rtol=1e-6)
    assert recording.t_r == pytest.approx(0.8)
    assert recording.channels.located.tolist() == [False, False, True]
    voxels = np.array([[1, 1, 1], [1, 1, 2], [1, 2, 1], [1, 2, 2], [3, 3, 3]])
    np.testing.assert_allclose(recording.channels.positions[2], voxels.mean(axis=0) * 2 / 1000)
    assert recording.channels.frame == "mni"  # fsLR in the name
    assert any("no position for 2 of 3 regions: give atlas.labels=" in note for note in recording.notes)
    with pytest.raises(ReadError, match="atlas: is needed for a dtseries; give atlas.image="):
        read(dtseries)


def test_dtseries_through_a_dlabel_and_its_table(dtseries, data, axis, tmp_path):
    """Labels on fewer grayordinates, in another order; label 7 is nowhere in the data."""
    table = {0: ("???", (0, 0, 0, 0)), 5: ("B", (1, 0, 0, 1)), 2: ("A", (0, 1, 0, 1)), 7: ("C", (0, 0, 1, 1))}
    cortex = axis[:19][::-1]
    labels = np.array([2 if name == LEFT else 5 for name in cortex.name], dtype=np.float32)
    labels[-1] = 0  # the first vertex of the left side
    dlabel = save(tmp_path / "two.dlabel.nii", labels[None], cifti2.LabelAxis(["x"], [table]), cortex)
    recording = read(dtseries, options=ReadOptions.parse({"atlas": {"image": str(dlabel)}}))
    assert (recording.channels.labels.tolist(), recording.channels.located.any()) == ([2, 5, 7], False)
    (tmp_path / "two.tsv").write_text("index\tname\tx\ty\tz\n2\tA\t-30\t5.5\t50\n5\tB\t30\t4.5\t50\n7\tC\t0\t0\t1\n")
    options = ReadOptions.parse({"atlas": {"image": str(dlabel), "labels": "two.tsv"}})
    recording = read(dtseries, options=options, root=tmp_path)
    assert recording.channels.names == ("A", "B", "C")
    assert recording.channels.labels.tolist() == [2, 5, 7]
    np.testing.assert_allclose(recording.data[0], data[:, 1:9].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(recording.data[1], data[:, 9:19].mean(axis=1), rtol=1e-6)
    assert not recording.data[2].any()
    assert recording.bads == ("C",)
    np.testing.assert_allclose(recording.channels.positions[:2], [[-0.03, 0.0055, 0.05], [0.03, 0.0045, 0.05]])
    assert len(recording.provenance["atlas"]["sha256"]) == 64


def test_labels_of_rows_are_those_of_a_row_by_row_search(axis):
    from brainof.io.cifti import _labels_of_rows

    def key(one, row):
        vertex = int(one.vertex[row])
        return (str(one.name[row]), vertex) if vertex >= 0 else tuple(map(int, one.voxel[row]))

    random = np.random.default_rng(0)
    labelled = axis[random.permutation(len(axis))[:18]]
    values = random.integers(1, 9, len(labelled))
    other = cifti2.BrainModelAxis.from_surface(np.arange(4), 4, "Cerebellum") + axis  # no surface of the labels
    plain = {key(labelled, row): int(value) for row, value in enumerate(values)}
    wanted = [plain.get(key(other, row), 0) for row in range(len(other))]
    assert _labels_of_rows(other, labelled, values).tolist() == wanted
    assert 0 < np.count_nonzero(wanted) < len(wanted)


@pytest.fixture
def parcels(axis):
    return cifti2.ParcelsAxis.from_brain_models([("L", axis[:9]), ("R", axis[9:19]), ("T", axis[19:])])


def test_ptseries_has_its_parcels(tmp_path, parcels, data):
    path = save(tmp_path / "run.ptseries.nii", data[:, :3], cifti2.SeriesAxis(0, 2, N_TIMES), parcels)
    recording = read(path, options=ReadOptions.parse({"atlas": {"space": "mni"}}))
    assert recording.channels.names == ("L", "R", "T")
    np.testing.assert_array_equal(recording.data, data[:, :3].T)
    assert recording.channels.located.tolist() == [False, False, True]
    assert recording.provenance["atlas"] == {"name": "parcels-3", "n_regions": 3}


def test_a_label_table_fixes_the_order_of_parcels(tmp_path, parcels, data):
    path = save(tmp_path / "run.ptseries.nii", data[:, :3], cifti2.SeriesAxis(0, 2, N_TIMES), parcels)
    (tmp_path / "table.tsv").write_text("index\tname\tx\ty\tz\n30\tT\n10\tL\t-30\t5\t50\n15\tmissing\n20\tR\n")
    recording = read(path, options=ReadOptions.parse({"atlas": {"labels": "table.tsv"}}), root=tmp_path)
    assert recording.channels.labels.tolist() == [30, 10, 15, 20]
    np.testing.assert_array_equal(recording.data[[0, 1, 3]], data[:, [2, 0, 1]].T)
    assert recording.bads == ("missing",)
    np.testing.assert_allclose(recording.channels.positions[1], [-0.03, 0.005, 0.05])
    assert recording.channels.located.tolist() == [True, True, False, False]
    (tmp_path / "table.tsv").write_text("index\tname\n1\tL\n2\tR\n")
    with pytest.raises(ReadError, match="parcels are not in table.tsv: T"):
        read(path, options=ReadOptions.parse({"atlas": {"labels": "table.tsv"}}), root=tmp_path)


def test_damaged_values_and_files(dtseries, data, axis, atlas, tmp_path):
    data[3, 19] = np.nan
    flawed = save(tmp_path / "nan.dtseries.nii", data, cifti2.SeriesAxis(0, 1, N_TIMES), axis)
    recording = read(flawed, options=atlas)
    np.testing.assert_allclose(recording.data[2], data[:, 20:].mean(axis=1), rtol=1e-6)
    assert recording.provenance["coverage"] == {"THALAMUS": 0.8}
    content = dtseries.read_bytes()
    dtseries.write_bytes(content[:-200])
    with pytest.raises(ReadError, match="needs .* MB, the file has"):
        read(dtseries, options=atlas)
    with pytest.raises(ReadError, match=r"announces .* GB"):
        read(flawed, options=ReadOptions(max_bytes=100))
    dtseries.write_bytes(content[:700])
    with pytest.raises(ReadError, match="a header extension announces 1360 bytes, the file has 700"):
        read(dtseries)
    scalar = cifti2.ScalarAxis(["x"] * N_TIMES)
    with pytest.raises(ReadError, match="holds no time series"):
        read(save(tmp_path / "map.dtseries.nii", data, scalar, axis))


@pytest.fixture
def label_gii(tmp_path):
    labels = GiftiDataArray(np.array([0, 1, 1, 2, 2, 2, 2, 3, 3, 3], np.int32), intent="NIFTI_INTENT_LABEL")
    table = GiftiLabelTable()
    for key, name in ((0, "???"), (1, "one"), (2, "two"), (3, "three")):
        label = GiftiLabel(key)
        label.label = name
        table.labels.append(label)
    nib.save(GiftiImage(darrays=[labels], labeltable=table), tmp_path / "atlas.label.gii")
    return "atlas.label.gii"


@pytest.mark.parametrize("layout", ["one array per time", "one array"])
def test_gifti_through_a_label_file(tmp_path, label_gii, layout):
    values = np.random.default_rng(0).normal(size=(N_VERTICES, N_TIMES)).astype(np.float32)
    pieces = list(values.T) if layout == "one array per time" else [values]
    image = GiftiImage(
        darrays=[GiftiDataArray(np.ascontiguousarray(v), intent="NIFTI_INTENT_TIME_SERIES") for v in pieces]
    )
    path = tmp_path / "sub-01_task-rest_hemi-L_space-fsaverage5_bold.func.gii"
    nib.save(image, path)
    (tmp_path / "sub-01_task-rest_hemi-L_space-fsaverage5_bold.json").write_text('{"RepetitionTime": 1.5}')
    (tmp_path / "atlas.tsv").write_text("index\tname\tx\ty\tz\n1\tone\t-30\t1.5\t50\n2\ttwo\n3\tthree\n")
    options = ReadOptions.parse({"atlas": {"image": label_gii, "labels": "atlas.tsv"}})
    recording = read(path, options=options, root=tmp_path)
    assert recording.channels.names == ("one", "two", "three")
    np.testing.assert_allclose(recording.data[1], values[3:7].mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(recording.channels.positions[0], [-0.03, 0.0015, 0.05])
    assert (recording.t_r, recording.entities["hemisphere"], recording.channels.frame) == (1.5, "L", "mni")
    with pytest.raises(ReadError, match="atlas: is needed for a surface"):
        read(path)
    with pytest.raises(ReadError, match=r"announces .* GB"):
        read(path, options=ReadOptions(max_bytes=path.stat().st_size - 1))


def test_a_gifti_array_that_unpacks_to_more_than_its_dims_is_refused(tmp_path, label_gii):
    """A small file of zeros that zlib makes large: refused by what it announces, never unpacked whole."""
    import base64
    import resource
    import zlib

    path = tmp_path / "hemi-L.func.gii"
    values = np.zeros((N_VERTICES, N_TIMES), np.float32)
    encoding = "GIFTI_ENCODING_B64GZ"
    nib.save(GiftiImage(darrays=[GiftiDataArray(values, intent="NIFTI_INTENT_TIME_SERIES", encoding=encoding)]), path)
    text = path.read_text()
    start, end = text.index("<Data>") + 6, text.index("</Data>")
    assert zlib.decompress(base64.b64decode(text[start:end])) == values.tobytes()
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(300)) + packer.flush()
    path.write_text(text[:start] + base64.b64encode(bomb).decode() + text[end:])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ReadError, match=r"array 1 unpacks to more than the 480 bytes of its Dims"):
        read(path, options=ReadOptions.parse({"atlas": {"image": label_gii}, "sfreq": 1}), root=tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB on Linux


def _external(path, name, n_arrays=3):
    array = (
        '<DataArray ArrayIndexingOrder="RowMajorOrder" DataType="NIFTI_TYPE_UINT8" Dimensionality="1" Dim0="10" '
        'Encoding="ExternalFileBinary" Endian="LittleEndian" ExternalFileName="{}" ExternalFileOffset="{}" '
        'Intent="NIFTI_INTENT_TIME_SERIES"><MetaData/><Data></Data></DataArray>'
    )
    arrays = "".join(array.format(name, 10 * i) for i in range(n_arrays))
    path.write_text(f'<?xml version="1.0"?><GIFTI NumberOfDataArrays="{n_arrays}" Version="1.0">{arrays}</GIFTI>')


def test_arrays_in_another_file_stay_inside_the_dataset(tmp_path, label_gii):
    root = tmp_path / "data"
    root.mkdir()
    (tmp_path / label_gii).rename(root / label_gii)
    for folder in (tmp_path, root):
        (folder / "values.bin").write_bytes(bytes(range(1, 31)))
    os.mkfifo(root / "pipe")
    options = ReadOptions.parse({"atlas": {"image": label_gii}, "t_r": 1})
    path = root / "hemi-L.func.gii"
    _external(path, "values.bin")
    assert read(path, options=options, root=root).n_times == 3
    # written with an entity, the way out is the same
    for name in ("../values.bin", str(tmp_path / "values.bin"), "&#46;&#46;/values.bin"):
        _external(path, name)
        with pytest.raises(ReadError, match=r"ExternalFileName: '.*values\.bin' points outside"):
            read(path, options=options, root=root)
    _external(path, "pipe")
    with pytest.raises(ReadError, match="ExternalFileName: pipe is missing"):
        read(path, options=options, root=root)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ReadError, match=r"hemi-L\.func\.gii: is not a file"):
        read(path, options=options, root=root)


def test_a_list_of_names_must_fit_the_labels_of_a_surface(tmp_path, label_gii):
    path = tmp_path / "hemi-L.func.gii"
    arrays = [GiftiDataArray(row.astype(np.float32)) for row in np.random.default_rng(0).normal(size=(4, N_VERTICES))]
    nib.save(GiftiImage(darrays=arrays), path)
    (tmp_path / "names.txt").write_text("My atlas\none\ntwo\nthree\n")
    options = ReadOptions.parse({"atlas": {"image": label_gii, "labels": "names.txt"}, "t_r": 1})
    with pytest.raises(ReadError, match="4 names without ids do not fit the labels of the image, which end at 3"):
        read(path, options=options, root=tmp_path)
