from __future__ import annotations

import pytest

from brainof.datasets.discover import discover, fill, inside
from brainof.datasets.recipe import Files
from brainof.errors import ConfigError, ReadError


@pytest.fixture
def tree(tmp_path):
    for name in (
        "sub-01/eeg/sub-01_task-rest_run-1_eeg.edf",
        "sub-01/eeg/sub-01_task-rest_run-2_eeg.edf",
        "sub-02/eeg/sub-02_task-rest_run-1_eeg.edf",
        "sub-02/eeg/sub-99_task-rest_run-1_eeg.edf",
        "sub-03/eeg/sub-03_task-rest_run-1_eeg.txt",
        ".hidden/eeg/x.edf",
        "deep/er/S001R02.edf",
        "S002R01.edf",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "meg" / "a.ds").mkdir(parents=True)
    (tmp_path / "meg" / "folder.edf").mkdir()
    return tmp_path


def names(root, *patterns):
    return [found.name for found in discover([Files(pattern=p) for p in patterns], root)]


def test_named_entities_and_order(tree):
    pattern = "sub-{subject}/eeg/sub-{subject}_task-{task}_run-{run}_eeg.edf"
    found = discover([Files(pattern=pattern, entities={"site": "x"})], tree)
    assert [(f.entities["subject"], f.entities["run"]) for f in found] == [("01", "1"), ("01", "2"), ("02", "1")]
    assert found[0].entities == {"subject": "01", "task": "rest", "run": "1", "site": "x"}
    assert found[0].path == tree / found[0].name


def test_wildcards_and_depth(tree):
    assert names(tree, "**/S{subject}R{run}.edf") == ["S002R01.edf", "deep/er/S001R02.edf"]
    assert names(tree, "meg/*.ds") == ["meg/a.ds"]
    assert len(names(tree, "**/*.edf")) == 6  # neither the hidden folder nor the folder called .edf


def test_first_pattern_wins(tree):
    files = [Files(pattern="S002R01.edf", entities={"task": "a"}), Files(pattern="S*.edf", entities={"task": "b"})]
    assert [found.entities for found in discover(files, tree)] == [{"task": "a"}]


def test_letters_of_a_pattern_are_literal(tree):
    with pytest.raises(ConfigError, match="matches"):
        names(tree, "S002R01xedf".replace("x", "["))
    assert names(tree, "S{subject}R0?.edf".replace("?", "{run}")) == ["S002R01.edf"]


def test_nothing_found_names_pattern_and_root(tree):
    with pytest.raises(ConfigError, match=rf"toy: files: nothing under {tree} matches 'x/\*\.edf'"):
        discover([Files(pattern="x/*.edf")], tree, "toy")
    with pytest.raises(ConfigError, match="is not a folder"):
        names(tree / "absent", "*.edf")


@pytest.mark.parametrize("pattern", ["../*.edf", "/etc/*", "sub-01/../../x.edf", ""])
def test_patterns_cannot_leave_the_root(tree, pattern):
    with pytest.raises(ConfigError, match="leaves the root"):
        names(tree, pattern)


def test_paths_cannot_leave_the_root(tree):
    (tree / "data").mkdir()
    (tree / "data" / "link.tsv").symlink_to(tree / "S002R01.edf")
    assert inside(tree, "data/link.tsv") == (tree / "S002R01.edf").resolve()
    for relative in ("../S002R01.edf", "/etc/passwd", "link.tsv"):
        with pytest.raises(ReadError, match="leaves the dataset root"):
            inside(tree / "data", relative)


def test_fill():
    assert fill("sub-{subject}_{run}.tsv", {"subject": "1", "run": "2"}, "events.file") == "sub-1_2.tsv"
    with pytest.raises(ConfigError, match=r"events\.file: .* names \{run\}.*known: subject"):
        fill("{run}.tsv", {"subject": "1"}, "events.file")


def test_bids_recordings_by_entity(tmp_path):
    for name in ("sub-01_task-rest_eeg.edf", "sub-01_task-nback_run-2_eeg.edf", "sub-01_task-rest_channels.tsv"):
        (tmp_path / "sub-01" / "eeg").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sub-01" / "eeg" / name).touch()
    found = discover([Files(bids={"task": "nback"}, entities={"site": "x"})], tmp_path)
    assert [entry.name for entry in found] == ["sub-01/eeg/sub-01_task-nback_run-2_eeg.edf"]
    assert found[0].entities == {"subject": "01", "task": "nback", "run": "2", "site": "x"}
    assert len(discover([Files(bids={"run": None}), Files(bids={"run": "2"})], tmp_path)) == 2
    with pytest.raises(ConfigError, match=r"nothing under .*; check root= .*; task is one of nback, rest$"):
        discover([Files(bids={"task": "rset"})], tmp_path)
    with pytest.raises(ConfigError, match=r"bids\.task: no recording has task 'rset'; task is one of nback, rest$"):
        discover([Files(bids={"task": ["nback", "rset"]})], tmp_path)
    assert len(discover([Files(bids={"task": ["nback", "re*"]})], tmp_path)) == 2
    with pytest.raises(ConfigError, match=r"; run is one of 2; task is one of nback, rest$"):
        discover([Files(bids={"suffix": "eeg", "task": "rset", "run": "3"})], tmp_path)


def test_later_parts_of_a_split_recording_are_not_recordings(tmp_path):
    (tmp_path / "split").mkdir()
    for name in ("s1_split-01_meg.fif", "s1_split-02_meg.fif", "s1_split-10_meg.fif", "s2_split-02_meg.fif"):
        (tmp_path / "split" / name).touch()
    assert names(tmp_path, "split/*.fif") == ["split/s1_split-01_meg.fif", "split/s2_split-02_meg.fif"]
    for name in ("s1_raw.fif", "s1_raw-1.fif", "s1_raw-2.fif", "s2_raw-1.fif"):
        (tmp_path / name).touch()
    found = discover([Files(pattern="{subject}_raw*.fif")], tmp_path)
    assert [file.name for file in found] == ["s1_raw.fif", "s2_raw-1.fif"]
