from __future__ import annotations

import pickle

import numpy as np
import pytest

from brainof.corpus import Corpus, CorpusWriter, open_corpora
from brainof.errors import CorpusError


def _read_all(corpus) -> list[np.ndarray]:
    return [np.array(corpus.read(row)) for row in range(len(corpus))]


@pytest.mark.parametrize("path", ["missing", "."])
def test_what_is_not_a_corpus_is_named(tmp_path, path):
    with pytest.raises(CorpusError, match="corpus"):
        Corpus(tmp_path / path)


def test_reading_changes_nothing_on_disk(corpus_root):
    before = {path: path.stat().st_mtime_ns for path in corpus_root.rglob("*")}
    corpus = Corpus(corpus_root)
    assert len(_read_all(corpus)) == 24
    assert corpus.datasets == {"demo": {"license": "CC0"}}
    assert {path: path.stat().st_mtime_ns for path in corpus_root.rglob("*")} == before


def test_a_missing_shard_is_named_and_the_others_are_read(corpus_root, shard_files):
    shard_files()[1].unlink()
    corpus = Corpus(corpus_root)
    assert len(corpus) == 24  # its rows are in its index: nothing shrinks silently
    corpus.read(0)
    with pytest.raises(CorpusError, match=rf"{shard_files()[0].stem[:10]}.*safetensors: shard is missing"):
        corpus.read(8)


def test_a_cut_shard_is_named(corpus_root, shard_files):
    path = shard_files()[0]
    path.write_bytes(path.read_bytes()[:-500])
    for attempt in (Corpus(corpus_root).read, lambda row: Corpus(corpus_root).batch([row])):
        with pytest.raises(CorpusError, match=rf"{path.name}: shard is cut") as caught:
            attempt(0)
        assert "\n" not in str(caught.value)


def test_no_flipped_bit_of_a_shard_gives_wrong_values(corpus_root, shard_files):
    truth = _read_all(Corpus(corpus_root))
    path = shard_files()[0]
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    caught = 0
    for place in [*range(0, header, 97), *range(header, len(whole), 997)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        corpus = Corpus(corpus_root)
        for row in range(8):
            try:
                np.testing.assert_array_equal(corpus.read(row), truth[row])
            except CorpusError as error:
                assert path.name in str(error)  # noqa: PT017
                caught += place >= header
    assert caught == len(range(header, len(whole), 997))


def test_a_damaged_window_is_caught_in_a_batch(corpus_root, shard_files):
    path = shard_files()[0]
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CorpusError, match=rf"{path.name}: p1_rest: window '00007' is damaged"):
        Corpus(corpus_root).batch([6, 7])


def test_a_shard_without_index_is_rebuilt_from_its_header(corpus_root, shard_files):
    expected = Corpus(corpus_root).index
    shard_files()[1].with_suffix(".index.parquet").unlink()
    corpus = Corpus(corpus_root)
    assert corpus.index.astype(str).equals(expected.astype(str))
    assert "has no index file" in corpus.notes[0]


def test_no_flipped_byte_of_an_index_changes_a_row(corpus_root, shard_files):
    expected = Corpus(corpus_root).index.astype(str)
    path = shard_files()[0].with_suffix(".index.parquet")
    whole = path.read_bytes()
    for place in range(0, len(whole), 131):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            found = Corpus(corpus_root).index.astype(str)
        except CorpusError as error:
            assert path.name in str(error)  # noqa: PT017
            continue
        assert found.equals(expected), place


def test_a_merged_index_is_completed_by_newer_shards(corpus_root, make):
    Corpus(corpus_root).compact()
    with CorpusWriter(corpus_root) as writer:
        writer.add(make.recording("p6_rest"), make.channels(5), make.windows(6))
    corpus = Corpus(corpus_root)
    assert len(corpus) == 28
    np.testing.assert_array_equal(corpus.read(24), make.windows(6)[0].data.astype(np.float16))


@pytest.mark.parametrize("text", ["{}", "{", '{"names": ["a"]}'])
def test_a_damaged_channel_table_is_named(corpus_root, text):
    (path,) = (corpus_root / "channels").iterdir()
    path.write_text(text)
    with pytest.raises(CorpusError, match=path.name):
        Corpus(corpus_root).batch([0])


def test_a_changed_channel_table_is_noticed(corpus_root, make):
    (path,) = (corpus_root / "channels").iterdir()
    path.write_text(path.read_text().replace("eeg0", "eeg9"))
    with pytest.raises(CorpusError, match="does not match its name"):
        Corpus(corpus_root).channels(path.stem)


def test_a_corpus_survives_pickling_to_a_worker(corpus_root):
    corpus = Corpus(corpus_root)
    corpus.read(0)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(corpus)).read(3), corpus.read(3))


def test_corpora_number_their_windows_through(corpus_root, tmp_path, make):
    with CorpusWriter(tmp_path / "other") as writer:
        windows = make.windows(9, n_channels=5, n_times=60)
        writer.add(make.recording("q1", "second", "meg"), make.channels(5, "meg"), windows)
        writer.add_dataset("second", {"license": "PDDL"})
    both = open_corpora([corpus_root, tmp_path / "other"])
    assert [corpus.root for corpus in both.corpora] == [corpus_root, tmp_path / "other"]
    assert len(both) == 28
    assert list(both.datasets) == ["second", "demo"]
    assert both.index["dataset"].tolist() == ["demo"] * 24 + ["second"] * 4
    np.testing.assert_array_equal(both.read(23), Corpus(corpus_root).read(23))
    np.testing.assert_array_equal(both.read(24), windows[0].data.astype(np.float16))
    batch = both.batch([27, 0])
    assert batch.datasets == ("second", "demo")
    assert batch.modality_B.tolist() == [1, 0]
    assert batch.n_times_B.tolist() == [60, 100]
    assert "second" in str(both.damaged(25))


def test_one_path_opens_a_plain_corpus(corpus_root):
    assert isinstance(open_corpora(corpus_root), Corpus)
    assert isinstance(open_corpora([corpus_root]), Corpus)
    with pytest.raises(CorpusError, match="no corpus"):
        open_corpora([])
