from __future__ import annotations

import numpy as np
import pytest

from brainof.corpus import Corpus, CorpusWriter
from brainof.corpus.export import export
from brainof.errors import ConfigError, CorpusError

pytest.importorskip("zarr")


@pytest.fixture
def root(corpus_root, make):
    with CorpusWriter(corpus_root) as writer:
        writer.add(
            make.recording("p0_fmri", modality="fmri", sfreq=0.5), make.channels(4, "fmri"), make.windows(40, 2, 4)
        )
        writer.add(make.recording("p7_rest"), make.channels(5), make.windows(7, 3, n_times=64))
    return corpus_root


def test_braindecode_reads_what_is_exported(root, tmp_path, make):
    formats = pytest.importorskip("braindecode.datautil.hub_formats")
    stores = export(Corpus(root), tmp_path / "out", label="state")
    assert [(store["recordings"], store["windows"], store["targets"]) for store in stores] == [
        (1, 3, ["s0", "s1"]),
        (6, 24, ["s0", "s1"]),
        (1, 2, ["s0", "s1"]),
    ]
    for preload in (True, False):
        dataset = formats.load_from_zarr(stores[1]["path"], preload=preload)
        assert len(dataset) == 24
        assert dataset.description["subject"].tolist() == [f"p{i}" for i in range(6)]
        for number in (0, 5, 23):
            data, target, (_, start, stop) = dataset[number]
            window = make.windows(number // 4)[number % 4]
            np.testing.assert_array_equal(data, window.data.astype(np.float16).astype(np.float32))
            assert (target, start, stop) == (number % 2, round(window.onset * 256), round(window.onset * 256) + 100)
    info = formats.load_from_zarr(stores[1]["path"], preload=True).datasets[0].windows.info
    assert (info["sfreq"], info.ch_names, info.get_channel_types()[0]) == (256.0, [f"eeg{i}" for i in range(5)], "eeg")
    np.testing.assert_allclose(info["chs"][2]["loc"][:3], make.channels(5).positions[2], atol=2e-5)


def test_what_cannot_be_exported_is_named(root, shard_files, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'braindecode-zarr'"):
        export(Corpus(root), tmp_path / "out", to="braindecode")
    with pytest.raises(ConfigError, match="label: 'stat' .* did you mean 'state'"):
        export(Corpus(root), tmp_path / "out", label="stat")
    export(Corpus(root), tmp_path / "out")
    with pytest.raises(CorpusError, match=r"zarr: exists already"):
        export(Corpus(root), tmp_path / "out")
    path = shard_files()[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorpusError, match=f"{path.name}: shard is cut"):
        export(Corpus(root), tmp_path / "again")
    assert not [path.name for path in (tmp_path / "again").iterdir() if "demo-eeg-pretrain-2" in path.name]
