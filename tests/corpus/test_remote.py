"""Corpora behind URLs: an S3 server, an HTTP server and memory, all of this process."""

from __future__ import annotations

import errno
import http.server
import pickle
import sys
import threading
from functools import partial
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pytest

from brainof.corpus import BatchSampler, Corpus, Loader, folder, open_corpora
from brainof.corpus.buckets import COLUMNS
from brainof.corpus.folder import RemoteFolder
from brainof.errors import ConfigError, CorpusError, StorageError

URL = "memory://lab/corpus"


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setattr(folder, "FIRST_WAIT", 0.001)
    monkeypatch.setenv(folder.CACHE, str(tmp_path / "cache"))


def _upload(root: Path, url: str, **options) -> None:
    files, target = fsspec.core.url_to_fs(url, **options)
    for path in root.rglob("*"):
        if path.is_file():
            name = f"{target}/{path.relative_to(root).as_posix()}"
            files.makedirs(name.rsplit("/", 1)[0], exist_ok=True)
            files.pipe_file(name, path.read_bytes())


@pytest.fixture
def in_memory(corpus_root):
    _upload(corpus_root, URL)
    yield fsspec.filesystem("memory")
    fsspec.filesystem("memory").rm("/lab", recursive=True)


def _same(corpus: Corpus, root: Path) -> None:
    local = Corpus(root)
    assert corpus.index.astype(str).equals(local.index.astype(str))
    assert corpus.datasets == local.datasets
    for row in range(len(local)):
        np.testing.assert_array_equal(corpus.read(row), local.read(row))
    batch, truth = corpus.batch([3, 9]), local.batch([3, 9])
    assert (batch.signal_BCT == truth.signal_BCT).all()


def test_a_corpus_in_memory_reads_like_a_local_one(corpus_root, in_memory):
    corpus = Corpus(URL)
    assert corpus.remote
    _same(corpus, corpus_root)
    _same(pickle.loads(pickle.dumps(corpus)), corpus_root)
    assert corpus.verify().problems == []
    assert len(open_corpora([URL, corpus_root])) == 48
    with pytest.raises(CorpusError, match=f"{URL}: is read-only"):
        corpus.compact()


def test_an_s3_server(corpus_root, monkeypatch):
    server = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    options = {"endpoint_url": f"http://{host}:{port}", "skip_instance_cache": True}
    options["config_kwargs"] = {"retries": {"max_attempts": 0}}  # ours try again by themselves
    try:
        fsspec.filesystem("s3", **options).mkdir("lab")
        _upload(corpus_root, "s3://lab/corpus", **options)
        corpus = Corpus("s3://lab/corpus", storage_options=options)
        _same(corpus, corpus_root)
        shards = len(list((corpus_root / "shards").glob("*.safetensors")))
        assert len(list(corpus.folder.cache.rglob("*.safetensors"))) == shards
    finally:
        running.stop()
    # what is cached is read on without the server; what is not names itself
    np.testing.assert_array_equal(corpus.read(5), Corpus(corpus_root).read(5))
    corpus.folder.discard(_shard_of(corpus, 0))
    with pytest.raises(StorageError, match=r"s3://lab/corpus/shards/.*: cannot be fetched after 5") as caught:
        corpus.read(0)
    assert "\n" not in str(caught.value)


def _shard_of(corpus: Corpus, row: int) -> str:
    return f"shards/{corpus.index['shard'][row]}.safetensors"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_an_http_server_that_lists_nothing(corpus_root):
    pytest.importorskip("aiohttp")
    Corpus(corpus_root).compact()

    class Unlisted(_Quiet):
        def list_directory(self, path):
            self.send_error(403)

    handler = partial(Unlisted, directory=str(corpus_root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        corpus = Corpus(f"http://127.0.0.1:{server.server_address[1]}")
        _same(corpus, corpus_root)
        assert corpus.info()["shards"] == 3
        server.shutdown()


@pytest.mark.parametrize("fails", [1, 4])
def test_a_connection_that_comes_back_is_not_noticed(corpus_root, in_memory, monkeypatch, fails):
    corpus = Corpus(URL)
    truth = Corpus(corpus_root).read(0)
    _ = corpus.index
    real, left = type(in_memory).open, [fails]

    def flaky(self, path, *args, **kwargs):
        if str(path).endswith("safetensors") and left[0]:
            left[0] -= 1
            raise ConnectionResetError("connection reset by peer")
        return real(self, path, *args, **kwargs)

    monkeypatch.setattr(type(in_memory), "open", flaky)
    np.testing.assert_array_equal(corpus.read(0), truth)
    assert left == [0]


def test_a_lost_connection_is_one_line_that_names_the_shard(in_memory, monkeypatch):
    corpus = Corpus(URL)
    name = _shard_of(corpus, 0)

    def lost(*_, **__):
        raise OSError("connection reset by peer\nfor good")

    monkeypatch.setattr(type(in_memory), "open", lost)
    with pytest.raises(StorageError, match=f"{URL}/{name}: cannot be fetched after 5 attempts") as caught:
        corpus.read(0)
    assert "\n" not in str(caught.value)
    assert not list(corpus.folder.cache.rglob("*.tmp"))


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_shard_never_gives_values(corpus_root, in_memory, damage):
    corpus = Corpus(URL)
    name = _shard_of(corpus, 0)
    content = bytearray(in_memory.cat_file(f"/lab/corpus/{name}"))
    if damage == "missing":
        in_memory.rm(f"/lab/corpus/{name}")
    else:
        content[-1] ^= 1
        in_memory.pipe_file(f"/lab/corpus/{name}", bytes(content if damage == "flipped" else content[:-100]))
    words = {"flipped": "is damaged", "cut": "shard is cut", "missing": "shard is missing"}
    with pytest.raises(CorpusError, match=f"{URL}/{name}: .*{words[damage]}"):
        corpus.read(0)
    assert not list(corpus.folder.cache.rglob("*.safetensors"))


def test_a_damaged_copy_in_the_cache_is_fetched_anew(corpus_root, in_memory):
    corpus = Corpus(URL)
    corpus.read(0)
    copy = corpus.folder.cache / _shard_of(corpus, 0)
    copy.write_bytes(copy.read_bytes()[:-7])
    np.testing.assert_array_equal(Corpus(URL).read(0), Corpus(corpus_root).read(0))


def test_the_cache_stays_within_its_bounds(corpus_root, in_memory, tmp_path, monkeypatch):
    size = max(path.stat().st_size for path in (corpus_root / "shards").glob("*.safetensors"))
    monkeypatch.setenv(folder.CACHE_BYTES, str(2 * size + 10))
    corpus = Corpus(URL)
    truth = Corpus(corpus_root)
    for row in np.random.default_rng(0).permutation(24).tolist():
        np.testing.assert_array_equal(corpus.read(row), truth.read(row))
        cached = list(corpus.folder.cache.rglob("*.safetensors"))
        assert sum(path.stat().st_size for path in cached) <= 2 * size + 10
        assert len(corpus._shards) <= len(cached)  # what is dropped is not kept mapped either
    monkeypatch.setenv(folder.CACHE, str(tmp_path / "other"))
    monkeypatch.setenv(folder.CACHE_BYTES, "100")
    with pytest.raises(StorageError, match=r"safetensors: shard of .* does not fit a cache"):
        Corpus(URL).read(0)


def test_a_full_cache_disk_drops_other_shards_first_and_then_says_so(corpus_root, in_memory, monkeypatch):
    corpus = Corpus(URL)
    corpus.read(0)
    real, full = type(in_memory).get_file, {"until": 1}

    def refuses(self, source, target, **kwargs):
        cached = len([*corpus.folder.cache.rglob("[!.]*.safetensors")])
        if cached >= full["until"]:
            Path(target).write_bytes(b"as far as it went")
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, source, target, **kwargs)

    monkeypatch.setattr(type(in_memory), "get_file", refuses)
    np.testing.assert_array_equal(corpus.read(8), Corpus(corpus_root).read(8))  # the first shard made room
    full["until"] = 0
    with pytest.raises(StorageError, match=rf"{URL}/shards/.*: cannot be cached \(.*No space left") as caught:
        corpus.read(16)
    assert "\n" not in str(caught.value)
    assert not list(corpus.folder.cache.rglob("*.tmp"))


def test_the_loader_asks_for_shards_before_it_needs_them(corpus_root, in_memory, monkeypatch):
    corpus = Corpus(URL)
    sampler = BatchSampler(corpus.columns([*COLUMNS, "shard"]), 2, mix_shards=1)
    monkeypatch.setattr("brainof.corpus.loader.LOOK_AHEAD", 6)
    loader = Loader(corpus, sampler, prefetch=1)
    truth = Corpus(corpus_root)
    batches = iter(loader)
    next(batches)
    wanted = {_shard_of(corpus, int(row)) for batch in list(sampler.plan(0))[:6] for row in batch}
    for future in list(corpus.folder._fetching.values()):
        future.result()
    assert wanted <= {f"shards/{path.name}" for path in corpus.folder.cache.rglob("*.safetensors")}
    batches.close()
    for batch in islice(Loader(corpus, sampler), len(sampler)):
        assert (batch.signal_BCT == truth.batch(batch.rows).signal_BCT).all()


def test_what_cannot_be_reached_is_named(tmp_path, monkeypatch):
    with pytest.raises(CorpusError, match="memory://nothing: is not a corpus"):
        Corpus("memory://nothing")
    with pytest.raises(CorpusError, match="nope://x: cannot be reached"):
        Corpus("nope://x")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(CorpusError, match=r"gs://x: cannot be reached.*pip install gcsfs"):
        Corpus("gs://x")
    monkeypatch.setenv(folder.CACHE_BYTES, "many")
    with pytest.raises(ConfigError, match="BRAINOF_CACHE_BYTES: 'many'"):
        RemoteFolder(URL)
