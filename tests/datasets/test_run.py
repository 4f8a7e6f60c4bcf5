"""Datasets end to end: files -> corpus -> summary, with everything that can go wrong in between."""

from __future__ import annotations

import errno
import json

import numpy as np
import pytest

from brainof import io
from brainof.corpus import Corpus, CorpusWriter
from brainof.datasets import find_recipe
from brainof.datasets.discover import Found
from brainof.datasets.job import Job
from brainof.datasets.run import choose, describe, prepare
from brainof.errors import ConfigError, LabelError, StorageError
from brainof.prepare import default_chain


def states(summary) -> dict[str, str]:
    return dict(zip(summary.table["recording"], summary.table["state"], strict=True))


def test_from_files_to_labelled_windows(toy, tmp_path):
    recipe = find_recipe(toy[0])
    summary = prepare(recipe, toy[1], tmp_path / "corpus")
    assert summary.complete
    assert summary.views == {"pretrain": 30, "sounds": 12}
    corpus = Corpus(tmp_path / "corpus")
    rows = corpus.index[corpus.index["recording"] == "sub-02/run-2.npz"]
    assert rows["n_times"].tolist() == [512] * 5 + [256] * 2  # 128 Hz became 256 Hz
    assert rows["onset"].tolist() == pytest.approx([0, 2, 4, 6, 8, 200 / 128, 700 / 128], abs=1 / 256)
    assert rows[["label.state", "label.group", "subject", "run"]].astype(str).drop_duplicates().to_numpy().tolist() == [
        ["task", "b", "02", "2"]
    ]
    assert rows["label.sound"].astype(object).tolist()[-2:] == ["tone", "click"]
    whole = default_chain("eeg").apply(
        io.read(toy[1] / "sub-02" / "run-2.npz", modality="eeg", options=recipe.read, entities={})
    )
    np.testing.assert_allclose(corpus.read(rows.index[1]), whole.data[:, 512:1024], atol=5e-3)
    assert corpus.channels(str(rows["channel_set"].iloc[0])).names == ("Fp1", "Fp2", "Cz", "Oz")
    assert corpus.datasets["toy"] == describe(recipe)


def test_an_event_that_no_recording_has_is_named_beside_those_there_are(toy, tmp_path):
    recipe, out = find_recipe(toy[0]), tmp_path / "corpus"
    wrong = recipe.replaced(["tasks.sounds.windows.events=[tone, clik]"])
    for _ in range(2):  # all are done the second time
        with pytest.raises(
            ConfigError, match=r"tasks\.sounds\.windows\.events: no recording has an event 'clik'; did you"
        ):
            prepare(wrong, toy[1], out)
    assert prepare(wrong, toy[1], out, limit=5).count("done") == 5  # the others may have it
    assert prepare(recipe, toy[1], out).complete


def test_second_run_prepares_nothing(toy, tmp_path, monkeypatch):
    recipe = find_recipe(toy[0])
    prepare(recipe, toy[1], tmp_path / "corpus")
    monkeypatch.setattr(io, "read", lambda *_, **__: pytest.fail("was read again"))
    again = prepare(recipe, toy[1], tmp_path / "corpus")
    assert again.complete
    assert again.skipped == 6


def test_only_what_changed_is_prepared_again(toy, tmp_path):
    recipe = find_recipe(toy[0])
    prepare(recipe, toy[1], tmp_path / "corpus")
    (toy[1] / "participants.tsv").write_text("participant_id\tgroup\nsub-01\ta\nsub-02\tc\nsub-03\ta\n")
    again = prepare(recipe, toy[1], tmp_path / "corpus")
    assert (again.count("done"), again.skipped) == (6, 4)
    index = Corpus(tmp_path / "corpus").index
    assert set(index.loc[index["subject"] == "02", "label.group"].astype(str)) == {"c"}
    assert len(index) == 42  # the newer windows took the place of the older
    changed = prepare(recipe.replaced(["windows.length=5"]), toy[1], tmp_path / "corpus")
    assert changed.skipped == 0
    assert changed.views["pretrain"] == 12


@pytest.mark.parametrize(
    ("opened", "part"),
    [
        ("x.vhdr", "x.vmrk"),
        ("x.vhdr", "x.dat"),
        ("x.eeg", "x.vmrk"),
        ("x.eeg", "another.eeg"),
        ("x.eeg", "x.vhdr"),
        ("x.EEG", "x.21E"),
        ("x.set", "x.fdt"),
        ("x.lay", "x.dat"),
        ("x.vhdr", "another.eeg"),
        ("x.ahdr", "another.vmrk"),
        ("x.lay", "another.dat"),
        ("x.cdt", "x.cdt.dpa"),
        ("x_raw.fif", "x_raw-1.fif"),
        ("sub-1_split-01_meg.fif", "sub-1_split-02_meg.fif"),
        ("c,rfDC", "config"),
    ],
)
def test_a_changed_part_prepares_its_recording_again(toy, opened, part):
    path, job = toy[1] / opened, Job(find_recipe(toy[0]), toy[1])
    found = Found(path, opened, {"subject": "01", "run": "1"})
    configs = set()
    header = path.with_suffix(".vhdr") if path.suffix == ".eeg" else path
    for content in ("one", "two"):
        path.write_text("data")
        header.write_text(f"DataFile=another.eeg\nMarkerFile = another.vmrk\nFile=another.dat\r\nFile={'x' * 999}")
        path.with_name(part).write_text(content)
        configs.add(job.config(found))
    assert len(configs) == 2


def test_poison_files_are_listed_and_the_rest_is_done(toy, tmp_path):
    recipe, root, out = find_recipe(toy[0]), toy[1], tmp_path / "corpus"
    good = (root / "sub-01" / "run-1.npz").read_bytes()
    (root / "sub-01" / "run-1.npz").write_bytes(good[: len(good) // 2])
    np.savez(root / "sub-01" / "run-2.npz", eeg=np.zeros((4, 1280)), marker=np.zeros(1280))
    np.savez(root / "sub-02" / "run-1.npz", eeg=np.ones((4, 20)) * np.arange(20), marker=np.zeros(20))
    (root / "sub-04").mkdir()
    (root / "sub-04" / "run-1.npz").write_bytes(good)
    summary = prepare(recipe, root, out)
    assert {name for name, state in states(summary).items() if state == "failed"} == {
        "sub-01/run-1.npz",
        "sub-01/run-2.npz",
        "sub-02/run-1.npz",
        "sub-04/run-1.npz",
    }
    reasons = dict(zip(summary.table["recording"], summary.table["reason"], strict=True))
    assert "no usable channel" in reasons["sub-01/run-2.npz"]
    assert "shorter than one window" in reasons["sub-02/run-1.npz"]
    assert "participant_id = 'sub-04'" in reasons["sub-04/run-1.npz"]
    assert "3 failed" not in summary.text()
    assert "4 failed" in summary.text()
    assert all(str(name) in summary.text() for name, state in states(summary).items() if state == "failed")
    # mended files are taken up, and their failures forgotten
    (root / "sub-01" / "run-1.npz").write_bytes(good)
    again = prepare(recipe, root, out)
    assert states(again)["sub-01/run-1.npz"] == "done"
    left = {json.loads(path.read_text())["recording"] for path in (out / "failures").iterdir()}
    assert left == {"sub-01/run-2.npz", "sub-02/run-1.npz", "sub-04/run-1.npz"}


def test_a_reader_that_raises_anything_stops_nothing(toy, tmp_path, monkeypatch):
    real = io.read

    def poisoned(path, **kwargs):
        if path.parent.name == "sub-02":
            raise MemoryError("too much")
        return real(path, **kwargs)

    monkeypatch.setattr(io, "read", poisoned)
    summary = prepare(find_recipe(toy[0]), toy[1], tmp_path / "corpus")
    assert summary.count("failed") == 2
    assert "MemoryError: too much" in summary.text()


def test_an_interrupt_keeps_what_was_finished(toy, tmp_path, monkeypatch):
    real, out = io.read, tmp_path / "corpus"

    def interrupted(path, **kwargs):
        if path.parent.name == "sub-03":
            raise KeyboardInterrupt
        return real(path, **kwargs)

    monkeypatch.setattr(io, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(find_recipe(toy[0]), toy[1], out)
    monkeypatch.setattr(io, "read", real)
    summary = prepare(find_recipe(toy[0]), toy[1], out)
    assert summary.complete
    assert summary.skipped == 4


def test_a_full_disk_stops_the_run(toy, tmp_path, monkeypatch):
    def full(self, *_):
        raise StorageError(f"cannot be written ({errno.ENOSPC})", file="corpus")

    monkeypatch.setattr(CorpusWriter, "add", full)
    with pytest.raises(StorageError):
        prepare(find_recipe(toy[0]), toy[1], tmp_path / "corpus")


def test_parts_share_the_work(toy, tmp_path):
    recipe, out = find_recipe(toy[0]), tmp_path / "corpus"
    first, second = (prepare(recipe, toy[1], out, part=(number, 2)) for number in (1, 2))
    assert not set(first.table["recording"]) & set(second.table["recording"])
    assert len(Corpus(out).index) == 42
    assert prepare(recipe, toy[1], out).skipped == 6


def test_missing_table_stops_before_any_work(toy, tmp_path):
    (toy[1] / "participants.tsv").unlink()
    with pytest.raises(LabelError, match="table is missing"):
        prepare(find_recipe(toy[0]), toy[1], tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


def test_choose(toy):
    from brainof.datasets.discover import discover

    found = discover(find_recipe(toy[0]).files, toy[1])
    assert [f.entities["subject"] for f in choose(found, 3, None, (1, 1))] == ["01", "02", "03"]
    assert [f.entities["run"] for f in choose(found, None, ["02"], (1, 1))] == ["1", "2"]
    shares = [choose(found, None, None, (number, 4)) for number in (1, 2, 3, 4)]
    assert sorted(f.name for share in shares for f in share) == [f.name for f in found]
    for limit, subjects, part, message in (
        (0, None, (1, 1), "limit"),
        (None, ["2"], (1, 1), "did you mean '02'"),
        (None, None, (3, 2), "part"),
    ):
        with pytest.raises(ConfigError, match=message):
            choose(found, limit, subjects, part)


def test_parts_of_one_file_count_only_together(toy, tmp_path, monkeypatch):
    root, out = toy[1], tmp_path / "corpus"
    (root / "segments.txt").write_text("x 1\n" * 640 + "y 2\n" * 640)
    recipe = find_recipe(toy[0]).replaced(
        [
            "segments={file: segments.txt, columns: [what, block], split: [block]}",
            "events=null",
            "tasks={}",
            "labels={}",
        ]
    )
    real = CorpusWriter.add

    def killed_between_parts(self, row, *rest):
        real(self, row, *rest)
        self.flush()
        if row["recording"] == "sub-01/run-1.npz#block-1":
            raise KeyboardInterrupt

    monkeypatch.setattr(CorpusWriter, "add", killed_between_parts)
    with pytest.raises(KeyboardInterrupt):
        prepare(recipe, root, out)
    monkeypatch.setattr(CorpusWriter, "add", real)
    summary = prepare(recipe, root, out, limit=1)
    assert (summary.complete, summary.skipped) == (True, 0)
    assert sorted(Corpus(out).index["recording"].astype(str).unique()) == [
        "sub-01/run-1.npz#block-1",
        "sub-01/run-1.npz#block-2",
    ]
    assert prepare(recipe, root, out, limit=1).skipped == 1


def test_strict_refuses_implausible_amplitudes(toy, tmp_path):
    recipe = find_recipe(toy[0]).replaced(["read.units=V"])
    assert prepare(recipe, toy[1], tmp_path / "a").complete
    strict = prepare(recipe, toy[1], tmp_path / "b", strict=True)
    assert strict.count("failed") == 6
    assert "amplitude" in strict.text()


def test_a_recording_without_windows_lists_its_events(toy, tmp_path):
    changes = ["windows={events: [tnoe], tmin: 0, tmax: 1}", "labels={}", "tasks={}"]
    summary = prepare(find_recipe(toy[0]).replaced(changes), toy[1], tmp_path / "corpus", limit=1)
    assert "windows: gives no window" in summary.text()
    assert "its events are click, tone" in summary.text()


def test_a_recording_needs_a_subject(toy, tmp_path):
    recipe = find_recipe(toy[0]).replaced(["files=[{pattern: sub-01/run-1.npz}]", "labels={}", "tasks={}"])
    assert "has no subject" in prepare(recipe, toy[1], tmp_path / "corpus").text()
