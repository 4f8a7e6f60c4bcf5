"""The 38 hostile inputs: which test holds each row to its behaviour, and the rows that no room tests by itself.

Rows, in the order they were found: what a user can hand over by accident or on purpose. Every row is a one-line error
with file and field (exit 2; 3 for disk and permission), or a note on a recording that is used; in a batch the file is
listed and the others are done.
"""

from __future__ import annotations

import ast
import gzip
import json
import struct
from pathlib import Path

import edfio
import numpy as np
import pybv
import pytest
import scipy.io

from brainof.cli import main
from brainof.contract import InputContract, ModalityContract
from brainof.datasets import prepare
from brainof.datasets.discover import discover
from brainof.datasets.recipe import Files, Recipe
from brainof.errors import CheckpointError, ConfigError, ReadError
from brainof.io import read
from brainof.io.bids.apply import read_electrodes
from brainof.model import BrainOF
from brainof.release import load, save_release

TESTS = Path(__file__).parent
EDF, MNE, NIFTI = "io/test_edf_header.py", "io/test_mne_reader.py", "io/test_nifti.py"
HERE, BIDS, RUN = "test_hostile.py", "io/bids/test_sidecars.py", "datasets/test_run.py"

#: row -> what is handed over, and the tests (file::function) of what happens
ROWS: dict[int, tuple[str, list[str]]] = {
    1: ("EDF cut to 60 %", [f"{EDF}::test_row_1_a_cut_file_is_read_and_said_to_be_cut", f"{HERE}::test_row_1_strict"]),
    2: ("EDF header only", [f"{EDF}::test_rows_2_3_5_7_8_are_refused_in_one_line", f"{HERE}::test_command_line"]),
    3: ("empty file", [f"{EDF}::test_rows_2_3_5_7_8_are_refused_in_one_line", f"{HERE}::test_command_line"]),
    4: ("EDF with -1 or 99999999 records", [f"{EDF}::test_row_4_a_wrong_record_count_is_noted"]),
    5: (
        "EDF with 9,999 signals",
        [f"{EDF}::test_rows_2_3_5_7_8_are_refused_in_one_line", f"{HERE}::test_command_line"],
    ),
    6: ("minimum equals maximum", [f"{EDF}::test_row_6_a_channel_without_a_range_is_left_out"]),
    7: (
        "unit nV or furlong",
        [
            f"{EDF}::test_row_7_units_that_mne_does_not_know_are_scaled",
            f"{MNE}::test_row_7_unknown_brainvision_unit",
            f"{HERE}::test_command_line",
        ],
    ),
    8: ("record duration 0", [f"{EDF}::test_rows_2_3_5_7_8_are_refused_in_one_line", f"{HERE}::test_command_line"]),
    9: (
        "duplicate names",
        [f"{EDF}::test_row_9_repeated_names_are_numbered_and_have_no_position", f"{HERE}::test_row_9_two_positions"],
    ),
    10: (
        "BrainVision DataFile=../../x",
        [
            f"{MNE}::test_row_10_a_data_file_outside_the_root_is_refused",
            f"{MNE}::test_row_10_parts_of_any_format_must_lie_below_the_root",
            f"{HERE}::test_command_line",
        ],
    ),
    11: (
        "BrainVision data cut within a frame",
        [
            f"{MNE}::test_row_11_a_cut_brainvision_file_is_marked",
            f"{MNE}::test_row_11_a_whole_brainvision_file_is_not_marked",
        ],
    ),
    12: ("EEGLAB .fdt cut", [f"{HERE}::test_row_12_cut_fdt", f"{MNE}::test_row_12_and_13_cut_eeglab_and_fif_files"]),
    13: ("FIF cut", [f"{MNE}::test_row_12_and_13_cut_eeglab_and_fif_files"]),
    14: (
        "one NaN and one Inf",
        [
            f"{MNE}::test_row_14_samples_that_are_not_finite_are_noted",
            "prepare/test_bads.py::test_short_gaps_are_bridged_before_anything_else",
            "prepare/test_bads.py::test_a_long_gap_makes_the_channel_bad",
            "prepare/test_chain.py::test_one_nan_does_not_spread",
        ],
    ),
    15: (
        "flat channel",
        [f"{MNE}::test_row_15_flat_channels_are_noted", "prepare/test_bads.py::test_flat_and_loud_channels_are_marked"],
    ),
    16: (
        "one sample",
        [f"{MNE}::test_row_16_one_sample_is_no_recording", f"{RUN}::test_poison_files_are_listed_and_the_rest_is_done"],
    ),
    17: (
        "no positions",
        [
            f"{MNE}::test_row_17_unknown_positions_are_said",
            "model/test_tokens.py::test_unknown_positions_have_their_own_embedding",
        ],
    ),
    18: (
        "8.6 GB of zeros in 8 MB of gzip",
        [f"{NIFTI}::test_row_18_a_gzip_bomb_is_refused_by_its_header", f"{HERE}::test_command_line"],
    ),
    19: (
        "header larger than the file",
        [f"{NIFTI}::test_row_19_a_header_larger_than_the_file", f"{HERE}::test_command_line"],
    ),
    20: (".nii.gz cut", [f"{NIFTI}::test_row_20_a_cut_image", f"{HERE}::test_command_line"]),
    21: ("TR 0", [f"{NIFTI}::test_rows_21_22_impossible_repetition_times", f"{HERE}::test_command_line"]),
    22: (
        "TR -2, TR in milliseconds",
        [f"{NIFTI}::test_row_22_a_negative_repetition_time", f"{NIFTI}::test_rows_21_22_impossible_repetition_times"],
    ),
    23: ("3-D instead of 4-D", [f"{NIFTI}::test_row_23_a_single_volume", f"{HERE}::test_command_line"]),
    24: ("NaN and 1e30 voxels", [f"{NIFTI}::test_row_24_damaged_voxels_do_not_count"]),
    25: ("atlas half outside", [f"{NIFTI}::test_row_25_columns_stay_when_regions_are_lost"]),
    26: (
        "confounds that do not fit",
        [f"{NIFTI}::test_row_26_confounds", "io/bids/test_fmriprep.py::test_row_26_missing_columns_are_all_named"],
    ),
    27: ("channels.tsv disagrees", [f"{BIDS}::test_row_27_channels_that_disagree_are_refused"]),
    28: (
        "paths that leave the root",
        [
            f"{HERE}::test_row_28_names_do_not_leave_the_root",
            "datasets/test_discover.py::test_paths_cannot_leave_the_root",
            "datasets/test_labels.py::test_table_outside_the_root",
            "io/bids/test_index.py::test_links",
        ],
    ),
    29: ("missing shard", ["corpus/test_store.py::test_a_missing_shard_is_named_and_the_others_are_read"]),
    30: (
        "flipped bit",
        [
            "corpus/test_store.py::test_no_flipped_bit_of_a_shard_gives_wrong_values",
            "corpus/test_store.py::test_no_flipped_byte_of_an_index_changes_a_row",
            "pretraining/test_run.py::test_damaged_checkpoints_fall_back_to_the_one_before",
        ],
    ),
    31: (
        "shard cut",
        ["corpus/test_store.py::test_a_cut_shard_is_named", "corpus/test_shards.py::test_a_cut_shard_is_named"],
    ),
    32: (
        "pickle in npy or weights",
        ["io/test_arrays.py::test_pickled_objects_are_refused", f"{HERE}::test_rows_32_33_damaged_weights"],
    ),
    33: (
        "safetensors header of 1 TB, or cut",
        [
            "corpus/test_shards.py::test_a_header_that_claims_more_than_there_is_takes_no_memory",
            f"{HERE}::test_rows_32_33_damaged_weights",
        ],
    ),
    34: ("unknown key", ["test_schema.py::test_errors_name_file_key_and_nearest_key"]),
    35: (
        "disk full",
        [
            "corpus/test_writer.py::test_a_full_disk_is_a_storage_error_and_leaves_what_was_committed",
            f"{RUN}::test_a_full_disk_stops_the_run",
        ],
    ),
    36: (
        "permission denied",
        ["corpus/test_writer.py::test_a_folder_that_cannot_be_written_is_named", f"{HERE}::test_row_36_exit_code"],
    ),
    37: (
        "killed writer or trainer",
        [
            "corpus/test_writer.py::test_a_killed_writer_loses_nothing_that_it_reported",
            "pretraining/test_run.py::test_killed_and_continued_from_the_command_line",
        ],
    ),
    38: ("two writers", ["corpus/test_writer.py::test_two_writers_at_once_lose_nothing"]),
}


def test_every_row_has_its_tests():
    assert sorted(ROWS) == list(range(1, 39))
    missing = []
    functions: dict[str, set[str]] = {}
    for row, (_, tests) in ROWS.items():
        for test in tests:
            file, function = test.split("::")
            if file not in functions:
                tree = ast.parse((TESTS / file).read_text())
                functions[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            if function not in functions[file]:
                missing.append(f"row {row}: {test}")
    assert not missing


def _edf(path: Path) -> bytes:
    signals = np.random.default_rng(0).normal(0, 20, (3, 600))
    edfio.Edf(
        [
            edfio.EdfSignal(row, 100, label=name, physical_dimension="uV", physical_range=(-200, 200))
            for name, row in zip(("Fp1", "C3", "O2"), signals, strict=True)
        ]
    ).write(path)
    return path.read_bytes()


def _patched(content: bytes, at: int, patch: bytes) -> bytes:
    return content[:at] + patch + content[at + len(patch) :]


def _nifti(shape=(4, 4, 4, 10), t_r=2.0, data: bytes | None = None) -> bytes:
    """A NIfTI-1 header by hand, and float32 data."""
    header = bytearray(352)
    header[:4], header[344:348] = struct.pack("<i", 348), b"n+1\0"
    header[40:56] = struct.pack("<8h", len(shape), *shape, *[1] * (7 - len(shape)))
    header[70:74], header[108:112] = struct.pack("<2h", 16, 32), struct.pack("<f", 352)
    header[76:108] = struct.pack("<8f", 1, 3, 3, 3, t_r, 1, 1, 1)
    header[123] = 10  # mm, s
    values = np.random.default_rng(0).normal(100, 1, int(np.prod(shape)) if data is None else 0).astype("<f4")
    return bytes(header) + (values.tobytes() if data is None else data)


def _vhdr(path: Path) -> None:
    data = np.random.default_rng(0).normal(0, 2e-5, (2, 300))
    pybv.write_brainvision(data=data, sfreq=100, ch_names=["Fp1", "C3"], fname_base=path.stem, folder_out=path.parent)
    path.write_text(path.read_text().replace(f"DataFile={path.stem}.eeg", "DataFile=../../etc/passwd"))


HOSTILE = {
    2: (lambda path: path.write_bytes(_edf(path)[: 256 * 4]), "a.edf", "number of records: empty recording"),
    3: (lambda path: path.write_bytes(b""), "a.edf", "is empty (0 bytes)"),
    5: (lambda path: path.write_bytes(_patched(_edf(path), 252, b"9999")), "a.edf", "header says 9999 signals"),
    7: (
        lambda path: path.write_bytes(_patched(_edf(path), 256 + 3 * 96, b"furlong ")),
        "a.edf",
        "unit of Fp1: unknown unit 'furlong'",
    ),
    8: (lambda path: path.write_bytes(_patched(_edf(path), 244, b"0       ")), "a.edf", "sampling rate is unknown"),
    10: (_vhdr, "a.vhdr", "DataFile: '../../etc/passwd' points outside"),
    18: (
        lambda path: path.write_bytes(gzip.compress(_nifti((1000, 1000, 1000, 4), data=bytes(20_000_000)))),
        "a.nii.gz",
        "size: header announces 16 GB",
    ),
    19: (
        lambda path: path.write_bytes(_nifti((200, 200, 200, 100), data=bytes(1000))),
        "a.nii",
        "the file has 0.00135 MB",
    ),
    20: (lambda path: path.write_bytes(gzip.compress(_nifti())[:-900]), "a.nii.gz", "the file is cut"),
    21: (lambda path: path.write_bytes(_nifti(t_r=0.0)), "a.nii", "TR 0 s; give --t-r in seconds"),
    22: (lambda path: path.write_bytes(_nifti(t_r=2000.0)), "a.nii", "looks like milliseconds"),
    23: (lambda path: path.write_bytes(_nifti((4, 4, 4))), "a.nii", "shape 4x4x4 is 3-D, not 4-D"),
}


@pytest.mark.parametrize("row", HOSTILE)
def test_command_line(row, tmp_path, capsys):
    """One line that names file and fault on standard error, nothing on standard output, exit code 2."""
    make, name, words = HOSTILE[row]
    make(tmp_path / name)
    assert main(["info", str(tmp_path / name), "--grid-mm", "6"]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith(f"brainof: {tmp_path / name}")
    assert words in said.err
    assert said.err.count("\n") == 1


RECIPE = {
    "name": "toy",
    "title": "Toy",
    "modality": "eeg",
    "license": "CC0-1.0",
    "citation": "none",
    "files": [{"pattern": "sub-{subject}/a.edf"}],
    "windows": {"length": 1},
}


def test_row_1_strict(tmp_path):
    root = tmp_path / "data" / "sub-01"
    root.mkdir(parents=True)
    content = _edf(root / "a.edf")
    (root / "a.edf").write_bytes(content[: int(0.6 * len(content))])
    recipe = Recipe.parse(RECIPE)
    assert prepare(recipe, root.parent, tmp_path / "a").complete
    strict = prepare(recipe, root.parent, tmp_path / "b", strict=True)
    assert strict.count("failed") == 1
    assert "the file is cut off" in strict.text()


def test_row_9_two_positions(tmp_path):
    path = tmp_path / "sub-01_electrodes.tsv"
    path.write_text("name\tx\ty\tz\nCz\t0\t0\t0.1\nCz\t0\t0\t0.1\n")
    assert read_electrodes(path)[0] == ("Cz", "Cz")
    path.write_text("name\tx\ty\tz\nCz\t0\t0\t0.1\nCz\t0\t0.1\t0\n")
    with pytest.raises(ReadError, match=r"electrodes\.tsv: name: 'Cz' has two positions"):
        read_electrodes(path)


def test_row_12_cut_fdt(tmp_path):
    data = np.random.default_rng(0).normal(0, 20, (2, 500)).astype("<f4")
    labels = np.array([("Fp1",), ("C3",)], dtype=[("labels", object)])
    eeg = {"setname": "a", "nbchan": 2.0, "trials": 1.0, "pnts": 500.0, "srate": 100.0, "xmin": 0.0, "xmax": 4.99}
    scipy.io.savemat(
        tmp_path / "a.set", {"EEG": {**eeg, "data": "a.fdt", "chanlocs": labels, "event": [], "icawinv": []}}
    )
    (tmp_path / "a.fdt").write_bytes(data.T.tobytes())
    np.testing.assert_allclose(read(tmp_path / "a.set").data, data * 1e-6, rtol=1e-6)
    (tmp_path / "a.fdt").write_bytes(data.T.tobytes()[:2400])
    with pytest.raises(ReadError, match=r"a\.set: cannot be read") as caught:
        read(tmp_path / "a.set")
    assert len(str(caught.value)) < 500


def test_row_28_names_do_not_leave_the_root(tmp_path):
    root = tmp_path / "ds"
    (root / "sub-01" / "eeg").mkdir(parents=True)
    (root / "sub-01" / "eeg" / "sub-01_task-rest_eeg.edf").touch()
    (root / "sub-01" / "sub-01_scans.tsv").write_text("filename\n../../etc/passwd\n")
    (tmp_path / "sub-02" / "eeg").mkdir(parents=True)
    (tmp_path / "sub-02" / "eeg" / "sub-02_task-rest_eeg.edf").touch()
    assert [found.name for found in discover([Files(bids={})], root)] == ["sub-01/eeg/sub-01_task-rest_eeg.edf"]
    for files in (Files(bids={"subject": "../../sub-02"}), Files(pattern="../sub-{subject}/eeg/*.edf")):
        with pytest.raises(ConfigError, match="nothing under|leaves the root"):
            discover([files], root)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("pickle", "is a pickle under another name"), ("header", "is damaged"), ("cut", "is cut short")],
)
def test_rows_32_33_damaged_weights(tmp_path, kind, words):
    folder, part = tmp_path / "release", ModalityContract(units={"eeg": "V"}, steps=[])
    save_release(folder, BrainOF.from_preset("debug"), InputContract(modalities={"eeg": part}))
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    damaged = {
        "pickle": b"\x80\x04cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.",
        "header": struct.pack("<Q", 10**12) + content[8:],
        "cut": content[: len(content) // 2],
    }
    weights.write_bytes(damaged[kind])
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: {words}"):
        load(folder)
    assert not (tmp_path / "owned").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write")
def test_row_36_exit_code(tmp_path, capsys):
    (tmp_path / "sub-01").mkdir()
    _edf(tmp_path / "sub-01" / "a.edf")
    (tmp_path / "toy.yaml").write_text(json.dumps(RECIPE))
    assert main(["prepare", str(tmp_path / "toy.yaml"), "--root", str(tmp_path), "--out", "/proc/corpus"]) == 3
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("brainof:")] == said[-1:]
