from __future__ import annotations

import numpy as np
import pytest

from brainof.errors import ReadError
from brainof.io.labels import read_labels


@pytest.mark.parametrize(
    ("name", "text", "ids", "names"),
    [
        ("a.tsv", "index\tname\n0\tBackground\n2001\tPrecentral_L\n2002\tPrecentral_R\n", [2001, 2002], None),
        ("a.csv", "\ufeff2001,Precentral_L\n2002,Precentral_R\n", [2001, 2002], None),
        ("a.txt", "2001 Precentral_L 70 130 180 0\n2002 Precentral_R 245 245 245 0\n", [2001, 2002], None),
        ("a.txt", "# comment\n2001  Precentral_L\n2002  Precentral_R\n", [2001, 2002], None),
        ("a.txt", "Precentral_L\nPrecentral_R\n", [1, 2], None),
        ("a.csv", "1\n2\n", [1, 2], ["1", "2"]),
        ("a.csv", "region,value\nPrecentral_L,7\nPrecentral_R,9\n", [7, 9], None),
        ("a.csv", "label,name\n7,Precentral_L\n9,Precentral_R\n", [7, 9], None),
    ],
)
def test_layouts(tmp_path, name, text, ids, names):
    (tmp_path / name).write_text(text)
    found_ids, found_names, centroids = read_labels(tmp_path / name)
    assert found_ids.tolist() == ids
    assert list(found_names) == (names or ["Precentral_L", "Precentral_R"])
    assert np.isnan(centroids).all()


def test_centroids_are_metres_and_repeated_names_get_their_id(tmp_path):
    (tmp_path / "a.csv").write_text("id,name,x,y,z\n3,V1,10,-90,0\n4,V1,-10,n/a,0\n")
    ids, names, centroids = read_labels(tmp_path / "a.csv")
    assert names == ("V1-3", "V1-4")
    np.testing.assert_allclose(centroids[0], [0.01, -0.09, 0])
    assert np.isnan(centroids[1, 1])


@pytest.mark.parametrize(("text", "word"), [("1,a\n1,b\n", "twice"), ("", "holds no label"), ("id,name\n", "holds no")])
def test_wrong_tables_are_refused(tmp_path, text, word):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ReadError, match=word):
        read_labels(tmp_path / "a.csv")
