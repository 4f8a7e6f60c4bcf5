"""What is read of the files that the benches of others write."""

from __future__ import annotations

from studies.neighbours import probed


def test_scores_of_neuroatlas_are_those_of_the_test_side_of_finished_folds():
    """As NeuroAtlas 0.1.1 writes them: means over seeds, and the best seed on validation and on test."""

    def fold(test, **more):
        metrics = {"accuracy": {"mean": 0.9, "std": 0.0}, "best_val": {"balanced_accuracy": 0.675}}
        return {"ok": True, "metrics": metrics | {"best_test": {"balanced_accuracy": test}}, **more}

    assert probed([fold(0.5), fold(0.25), {"ok": False, "error": "no fold"}]) == [0.5, 0.25]
