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
        ("a.txt", "Background\nPrecentral_L\nPrecentral_R\n", [1, 2], None),
        ("a.csv", "name\nUnknown\nPrecentral_L\nPrecentral_R\n", [1, 2], None),
        ("a.txt", "A\nX\n", [1, 2], ["A", "X"]),
        ("itk.txt", '0 0 0 0 0 0 0 "Clear Label"\n4 9 9 9 1 1 1 "L Hippocampus"\n', [4], ["L Hippocampus"]),
        ("lut.txt", "0 Unknown 0 0 0 0\n4 Left Lateral Ventricle 9 9 9 0\n", [4], ["Left Lateral Ventricle"]),
        ("aal.txt", "FAG\tPrecentral_L\t2001\nFAD\tPrecentral_R\t2002\n", [2001, 2002], None),
        (
            "spm.xml",
            "<atlas><data><label><index>2001</index><name>Precentral_L</name></label>"
            "<label><index>2002</index><name>Precentral_R</name></label></data></atlas>",
            [2001, 2002],
            None,
        ),
        (
            "fsl.xml",  # FSL's maps count from 0, the labels of its summary image from 1
            '<atlas><header><type>Probabilistic</type></header><data><label index="0" x="4">Precentral_L</label>'
            '<label index="1" x="4">Precentral_R</label></data></atlas>',
            [1, 2],
            None,
        ),
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
    _, names, centroids = read_labels(tmp_path / "a.csv")
    assert names == ("V1-3", "V1-4")
    np.testing.assert_allclose(centroids[0], [0.01, -0.09, 0])
    assert np.isnan(centroids[1, 1])


@pytest.mark.parametrize("cell", ["n/a", "3x", "", "3.5", "inf", "1e3", "9" * 19, "9" * 400, "9" * 5000])
@pytest.mark.parametrize("header", ["index,name\n", ""])
def test_one_bad_id_never_renumbers_the_others(tmp_path, cell, header):
    (tmp_path / "a.csv").write_text(f"{header}4,D\n2,B\n{cell},C\n1,A\n")
    with pytest.raises(
        ReadError, match=r"a\.csv: atlas\.labels: '.{0,40}' in row 3 is not a label id; give each region"
    ):
        read_labels(tmp_path / "a.csv")


def test_a_list_without_ids_must_end_where_the_labels_of_the_image_end(tmp_path):
    (tmp_path / "a.txt").write_text("Pole\nInsula\nSFG\n")
    assert read_labels(tmp_path / "a.txt", np.array([1, 3]))[0].tolist() == [1, 2, 3]
    (tmp_path / "a.txt").write_text("My atlas\nPole\nInsula\nSFG\n")
    with pytest.raises(ReadError, match="4 names without ids do not fit the labels of the image, which end at 3"):
        read_labels(tmp_path / "a.txt", np.array([1, 2, 3]))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("1,a\n1,b\n", "twice"),
        ("", "holds no labels"),
        ("id,name\n", "holds no"),
        ("Nummer,Gebiet\n1,A\n2,B\n", "'Nummer' in row 1"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, word):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ReadError, match=word):
        read_labels(tmp_path / "a.csv")


IMAGE = np.array([1, 2, 3])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0,Pole\n1,Insula\n2,SFG\n", "label 3 of the image is not among its ids, 0 to 2; .*'Pole' is none of id 0"),
        ("11,Pole\n12,Insula\n13,SFG\n", "label 1 of the image is not among its ids, 11 to 13"),
    ],
)
def test_ids_that_are_not_those_of_the_image_are_refused(tmp_path, text, words):
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(ReadError, match=words):
        read_labels(tmp_path / "l.csv", IMAGE)
    assert len(read_labels(tmp_path / "l.csv")[0]) >= 2  # without an image nothing contradicts it


def test_ids_behind_the_names_decide_their_order(tmp_path):
    (tmp_path / "l.txt").write_text("SFG 3\nLeft Pole 1\nInsula 2\n")
    ids, names, _ = read_labels(tmp_path / "l.txt", IMAGE)
    assert dict(zip(names, ids.tolist(), strict=True)) == {"SFG": 3, "Left Pole": 1, "Insula": 2}
    (tmp_path / "l.txt").write_text("ROI 1\nROI 2\nROI 3\n")
    assert read_labels(tmp_path / "l.txt", IMAGE)[1] == ("ROI 1", "ROI 2", "ROI 3")
