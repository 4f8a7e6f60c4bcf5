from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainof.errors import ConfigError, ReadError
from brainof.inference.embeddings import Embeddings, load_embeddings


def made() -> Embeddings:
    table = pd.DataFrame(
        {"onset": [0.0, 4.0], "duration": [4.0, 2.5], "subject": ["01", None], "file": ["x.edf", "y.edf"]}
    )
    return Embeddings(np.arange(6, dtype=np.float32).reshape(2, 3), table)


@pytest.mark.parametrize("ending", ["parquet", "npz"])
def test_files_hold_what_was_saved(tmp_path, ending):
    path = tmp_path / f"e.{ending}"
    made().save(path)
    back = load_embeddings(path)
    np.testing.assert_array_equal(back.values, made().values)
    assert back.values.dtype == np.float32
    assert back.table["onset"].tolist() == [0.0, 4.0]
    assert back.table["subject"].iloc[0] == "01"
    assert list(back.table) == ["onset", "duration", "subject", "file"]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_parquet_columns_are_numbered_features(tmp_path):
    made().save(tmp_path / "e.parquet")
    names = list(pd.read_parquet(tmp_path / "e.parquet"))
    assert names == ["onset", "duration", "subject", "file", "e0000", "e0001", "e0002"]


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot write \.xlsx; use \.parquet, \.npz, \.csv"):
        made().save(tmp_path / "e.xlsx")
    with pytest.raises(ReadError, match="file not found"):
        load_embeddings(tmp_path / "absent.npz")
    (tmp_path / "e.npz").write_bytes(b"nonsense")
    with pytest.raises(ReadError, match="holds no embeddings"):
        load_embeddings(tmp_path / "e.npz")
    (tmp_path / "e.parquet").write_bytes(b"nonsense")
    with pytest.raises(ReadError, match="holds no embeddings"):
        load_embeddings(tmp_path / "e.parquet")


@pytest.mark.parametrize("by", [None, "subject", "onset"])
def test_plot_says_the_variance_of_each_component(by):
    values = np.zeros((6, 3), np.float32)
    values[:, 1] = [3, -3, 3, -3, 3, -3]
    values[:, 2] = [1, 1, -1, -1, 0, 0]
    found = Embeddings(values, pd.DataFrame({"onset": np.arange(6.0), "subject": list("aabbcc")}))
    axes = found.plot(by).axes[0]
    total = values.var(0).sum()
    assert axes.get_xlabel() == f"component 1 ({values.var(0)[1] / total:.0%} of variance)"
    assert sum(len(points.get_offsets()) for points in axes.collections) == 6
    assert repr(found) == "<Embeddings, 6 windows x 3 features, table: onset, subject>"


def test_plot_by_an_unknown_column_names_the_nearest():
    found = Embeddings(np.zeros((2, 2), np.float32), pd.DataFrame({"subject": ["a", "b"]}))
    with pytest.raises(ConfigError, match="did you mean 'subject'"):
        found.plot("subjects")


def test_a_csv_keeps_names_as_text(tmp_path):
    table = pd.DataFrame({"onset": [0.0, 2.0], "subject": ["01", "02"], "label.age": [20.5, None]})
    Embeddings(np.array([[0.25, 1], [2, 3]], np.float32), table).save(tmp_path / "e.csv")
    assert (tmp_path / "e.csv").read_text().splitlines()[0] == "onset,subject,label.age,e0000,e0001"
    found = load_embeddings(tmp_path / "e.csv")
    assert found.table["subject"].tolist() == ["01", "02"]
    np.testing.assert_array_equal(found.values, [[0.25, 1], [2, 3]])
    (tmp_path / "e.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReadError, match="holds no embeddings"):
        load_embeddings(tmp_path / "e.csv")
