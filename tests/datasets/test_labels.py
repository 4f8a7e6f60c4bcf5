from __future__ import annotations

import pytest

from brainof.datasets.labels import Labels
from brainof.datasets.recipe import find_recipe
from brainof.errors import LabelError

ENTITIES = {"subject": "02", "run": "2"}


def changed(toy, **labels) -> Labels:
    recipe = find_recipe(toy[0])
    return Labels(recipe.model_copy(update={"labels": {**recipe.labels, **Labels_sources(labels)}}), toy[1])


def Labels_sources(labels):
    from brainof.datasets.recipe import LabelSource

    return {name: LabelSource.parse(values) for name, values in labels.items()}


def test_entity_and_table(toy):
    assert changed(toy).of(ENTITIES) == {"state": "task", "group": "b"}
    assert changed(toy).of_event({"trial_type": "tone"}) == {"sound": "tone"}


def test_missing_row_names_table_key_and_fix(toy):
    with pytest.raises(
        LabelError,
        match=r"participants\.tsv: labels\.group: no row with participant_id = 'sub-07'; "
        r"the table has participant_id such as 'sub-01', 'sub-02', 'sub-03'; add the row, correct the key, or set "
        r"labels\.group\.optional",
    ):
        changed(toy).of({"subject": "07", "run": "1"})


def test_missing_table_and_column_stop_at_once(toy):
    table = toy[1] / "participants.tsv"
    table.write_text("participant_id\tgrup\nsub-01\ta\n")
    with pytest.raises(LabelError, match=r"participants\.tsv: labels\.group: no column 'group'; did you mean 'grup'"):
        changed(toy)
    table.write_text("")
    with pytest.raises(LabelError, match=r"participants\.tsv: table"):
        changed(toy)
    table.unlink()
    with pytest.raises(LabelError, match=r"participants\.tsv: table is missing"):
        changed(toy)


def test_optional_labels_are_left_out(toy):
    labels = changed(
        toy,
        group={
            "table": "participants.tsv",
            "key": {"participant_id": "{subject}"},
            "column": "group",
            "optional": True,
        },
        late={"entity": "run", "values": {"1": "first"}, "optional": True},
    )
    assert labels.of(ENTITIES) == {"state": "task"}


def test_unlisted_value(toy):
    with pytest.raises(LabelError, match=r"labels\.late: value '2' is not among values \('1'\)"):
        changed(toy, late={"entity": "run", "values": {"1": "first"}}).of(ENTITIES)


def test_unknown_value_in_the_table(toy):
    (toy[1] / "participants.tsv").write_text("participant_id\tgroup\nsub-02\tn/a\n")
    with pytest.raises(LabelError, match="no value where participant_id = 'sub-02'"):
        changed(toy).of(ENTITIES)


def test_rows_that_disagree_need_another_key(toy):
    (toy[1] / "participants.tsv").write_text("participant_id\tvisit\tgroup\nsub-02\t1\ta\nsub-02\t2\tb\n")
    with pytest.raises(LabelError, match=r"2 rows with participant_id = 'sub-02' disagree \(a, b\)"):
        changed(toy).of(ENTITIES)
    key = {"participant_id": "sub-{subject}", "visit": "{run}"}
    labels = changed(toy, group={"table": "participants.tsv", "key": key, "column": "group"})
    assert labels.of(ENTITIES)["group"] == "b"


def test_unknown_entity_and_event_column(toy):
    with pytest.raises(LabelError, match="no entity 'sesion'"):
        changed(toy, x={"entity": "sesion"}).of(ENTITIES)
    with pytest.raises(LabelError, match=r"no column 'trial'; did you mean 'trial_type'"):
        changed(toy, x={"event": "trial"}).of_event({"trial_type": "a"})


def test_table_outside_the_root(toy):
    from brainof.errors import ReadError

    with pytest.raises(ReadError, match="leaves the dataset root"):
        changed(toy, x={"table": "../toy.yaml", "key": {"a": "b"}, "column": "c"})


def test_sessions_have_a_table_per_subject(toy):
    """BIDS sessions.tsv: another file for each subject, a row for each session."""

    def table(subject, text):
        (toy[1] / f"sub-{subject}" / f"sub-{subject}_sessions.tsv").write_text(text)

    table("01", "session_id\tdrug\nses-1\tplacebo\nses-2\tketamine\n")
    table("02", "session_id\tdrug\nses-1\tketamine\n")
    labels = changed(toy, drug={"sessions": "drug", "values": {"ketamine": "yes", "placebo": "no"}})
    said = [
        labels.of({**ENTITIES, "subject": a, "session": b})["drug"] for a, b in (("01", "1"), ("01", "2"), ("02", "1"))
    ]
    assert said == ["no", "yes", "yes"]
    assert labels.files({**ENTITIES, "session": "1"})["drug"].name == "sub-02_sessions.tsv"
    with pytest.raises(LabelError, match=r"sub-02_sessions\.tsv: labels\.drug: no row with session_id = 'ses-9'"):
        labels.of({**ENTITIES, "session": "9"})
    with pytest.raises(LabelError, match=r"sub-03_sessions\.tsv: table is missing"):
        labels.of({"subject": "03", "session": "1", "run": "1"})
    with pytest.raises(LabelError, match=r"names \{session\}, which the recording does not have"):
        labels.of(ENTITIES)
    table("02", "session_id\tdrag\nses-1\tketamine\n")
    with pytest.raises(LabelError, match=r"labels\.drug: no column 'drug'; did you mean 'drag'"):
        labels.of({**ENTITIES, "session": "1"})
    optional = changed(toy, drug={"sessions": "drug", "optional": True})
    assert "drug" not in optional.of({"subject": "03", "session": "1", "run": "1"})
