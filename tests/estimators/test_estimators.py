from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from joblib import Memory
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import brainof.estimators.base as base
from brainof import BrainOFClassifier, BrainOFEmbedder, BrainOFRegressor, embed, load
from brainof.adaptation import LinearProbe, LoRA, adaptation
from brainof.errors import (
    CheckpointError,
    ConfigError,
    ContractError,
    LabelError,
    ReadError,
    RecordingError,
    StorageError,
)

NAMES = ["Fz", "Cz", "Pz", "Oz"]
ARRAYS = {"sfreq": 128.0, "channels": NAMES}


def test_all_forms_of_input_are_the_same_windows(release, signals, recordings, epochs, tmp_path):
    X, y, people = signals(n_people=2)
    embedder = BrainOFEmbedder(release, **ARRAYS)
    expected = embedder.fit_transform(X)
    assert (expected.shape, expected.dtype) == ((8, 64), np.float32)
    np.testing.assert_allclose(embedder.transform(recordings(X)), expected, atol=1e-5)
    np.testing.assert_allclose(embedder.transform(epochs(X)), expected, atol=1e-3)  # positions of another template
    np.testing.assert_allclose(
        BrainOFEmbedder(release, **ARRAYS, units="uV").fit_transform(X * 1e6), expected, atol=1e-4
    )
    # and what `embed` gives for each
    model, contract = load(release)
    alone = np.concatenate([embed(r, model, contract=contract).values for r in recordings(X)])
    np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_windows_of_a_corpus(rest_corpus, signals, recordings):
    from brainof.adaptation import CorpusRows

    X = CorpusRows(rest_corpus, np.arange(len(rest_corpus.index)))
    y = X.index["label.condition"].to_numpy(dtype=str)
    classifier = BrainOFClassifier("debug", random_state=0)
    scores = cross_val_score(classifier, X, y, groups=X.subjects, cv=GroupKFold(3), error_score="raise")
    assert scores.shape == (3,)
    assert classifier.fit(X, y).subjects_.tolist() == np.unique(X.subjects).tolist()
    # one of them again, from its file
    one = recordings(signals(n_people=1)[0], ["02"] * 4)
    with pytest.raises(LabelError, match="1 subject is in both training and test, such as '02'"):
        classifier.score(one, y[:4])


def test_a_probe_learns_and_repeats(release, signals):
    X, y, people = signals(n_people=16)
    one, two = (BrainOFClassifier(release, random_state=3, **ARRAYS).fit(X, y, people) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    fresh, labels, _ = signals(seed=1)
    assert one.score(fresh, labels) > 0.8
    probabilities = one.predict_proba(fresh)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(one.decision_function(fresh) > 0, one.predict(fresh) == "task")


def test_lora_repeats_with_a_seed_and_differs_with_another(signals):
    X, y, people = signals(n_people=4)

    model, _ = load("debug", seed=0)

    def probabilities(seed):
        classifier = BrainOFClassifier(model, adapt=LoRA(rank=2, epochs=1), random_state=seed, **ARRAYS)
        return classifier.fit(X, y, people).predict_proba(X)

    first = [probabilities(seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(first[0], first[1])
    assert np.abs(first[0] - first[2]).max() > 0


def test_a_recording_longer_than_the_window_is_cut_and_averaged(release, signals, recordings):
    X, _, _ = signals(n_people=1, each=2, seconds=6.0)
    embedder = BrainOFEmbedder(release).fit(recordings(X))
    model, contract = load(release)
    parts = embed(recordings(X)[0], model, contract=contract)
    assert len(parts) == 3
    np.testing.assert_allclose(embedder.transform(recordings(X))[0], parts.values.mean(axis=0), atol=1e-5)


def test_pipelines_clones_pickles_and_grid_search(release, signals, epochs):
    X, y, people = signals(n_people=4)
    data = epochs(X, people)
    pipeline = make_pipeline(BrainOFEmbedder(release, adapt="frozen"), StandardScaler(), LogisticRegression())
    assert cross_val_score(pipeline, data, y, groups=people, cv=GroupKFold(2), error_score="raise").shape == (2,)
    assert pipeline[:-1].fit(data).get_feature_names_out()[:2].tolist() == ["e0000", "e0001"]
    search = GridSearchCV(
        BrainOFClassifier(release, random_state=0),
        {"adapt": ["probe", LinearProbe(pool="gram")]},
        cv=GroupKFold(2),
        error_score="raise",
    )
    search.fit(data, y, groups=people)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict_proba(data), search.best_estimator_.predict_proba(data))
    assert clone(again).get_params()["model"] == release


@pytest.mark.parametrize("kind", [BrainOFClassifier, BrainOFRegressor])
def test_pooling_is_a_parameter_that_a_search_may_set(kind, release, signals, epochs, tmp_path):
    X, y, people = signals(n_people=4)
    data, y = epochs(X, people), y if kind is BrainOFClassifier else np.arange(len(y)) / len(y)
    search = GridSearchCV(kind(release, random_state=0), {"pool": ["mean", "gram"]}, cv=GroupKFold(2), refit=False)
    search.fit(data, y, groups=people)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    fitted = kind(release, pool="gram", random_state=0).fit(data, y)
    assert fitted.adapted_.head.pool == "gram"
    same = kind(release, adapt={"adaptation": "probe", "pool": "gram"}, random_state=0).fit(data, y)
    np.testing.assert_array_equal(fitted.predict(data), same.predict(data))
    fitted.save(tmp_path / "saved")
    loaded = kind.load(tmp_path / "saved")
    assert loaded.pool == "gram"
    np.testing.assert_array_equal(loaded.predict(data), fitted.predict(data))
    assert loaded.fit(data, y).adapted_.head.pool == "gram"


def test_pooling_reaches_the_adaptations_inside_and_is_given_once():
    inside = adaptation({"adaptation": "few_shot", "shots": 3, "then": "mlp"}).pooled_by("gram")
    assert (inside.shots, inside.then.name, inside.then.pool) == (3, "mlp", "gram")
    both = adaptation("two_stage").pooled_by("mean")
    assert (both.first.pool, both.second.pool) == ("mean", "mean")
    assert adaptation("attentive").pooled_by("concat") == adaptation("attentive")
    assert LinearProbe(pool="gram").pooled_by("gram") == LinearProbe(pool="gram")
    for said in (LinearProbe(pool="mean"), adaptation("attentive")):
        with pytest.raises(ConfigError, match="pool: 'gram', while .* reads"):
            said.pooled_by("gram")


def test_a_lora_estimator_travels_by_pickle_and_by_folder(release, signals, tmp_path):
    X, y, people = signals(n_people=4)
    fitted = BrainOFClassifier(release, adapt=LoRA(rank=2, epochs=1), random_state=0, **ARRAYS).fit(X, y, people)
    expected = fitted.predict_proba(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), expected)
    loaded = BrainOFClassifier.load(fitted.save(tmp_path / "adapter"))
    np.testing.assert_allclose(loaded.predict_proba(X), expected, atol=1e-5)
    assert loaded.classes_.tolist() == ["rest", "task"]
    with pytest.raises(
        CheckpointError, match="holds a BrainOFClassifier, no BrainOFRegressor; use BrainOFClassifier.load"
    ):
        BrainOFRegressor.load(tmp_path / "adapter")


def test_features_are_computed_once_per_window_in_cross_validation(release, signals, tmp_path, monkeypatch):
    X, y, people = signals(n_people=4)
    counted = []
    plain = base.pooled

    def counting(model, examples, *rest):
        counted.append(len(examples))
        return plain(model, examples, *rest)

    monkeypatch.setattr(base, "pooled", counting)
    scores = {}
    for memory in (None, Memory(tmp_path / "memory", verbose=0)):
        counted.clear()
        classifier = BrainOFClassifier(release, memory=memory, random_state=0, **ARRAYS)
        scores[memory is None] = cross_val_score(classifier, X, y, groups=people, cv=GroupKFold(4), error_score="raise")
        assert sum(counted) == (4 * 16 if memory is None else 16)
    np.testing.assert_array_equal(scores[True], scores[False])


def test_batch_size_and_threads_do_not_change_embeddings(release, signals):
    X, _, _ = signals()
    expected = BrainOFEmbedder(release, **ARRAYS).fit_transform(X)
    one = BrainOFEmbedder(release, batch_size=1, **ARRAYS).fit_transform(X)
    np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-5)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = BrainOFEmbedder(release, **ARRAYS).fit_transform(X)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(two, expected, rtol=1e-4, atol=1e-5)


def test_uncertainty_of_an_ensemble_and_of_passes_with_dropout(release, signals):
    X, y, people = signals()
    for adapt in ({"adaptation": "ensemble", "members": 3}, {"adaptation": "mlp", "epochs": 2, "dropout": 0.5}):
        found = BrainOFClassifier(release, adapt=adapt, random_state=0, **ARRAYS).fit(X, y, people).uncertainty(X)
        assert (found["epistemic"] > 0).any()
        np.testing.assert_allclose(found["total"], found["aleatoric"] + found["epistemic"], atol=1e-12)
    certain = BrainOFClassifier(release, random_state=0, **ARRAYS).fit(X, y, people).uncertainty(X)
    np.testing.assert_allclose(certain["epistemic"], 0, atol=1e-12)
    regressor = BrainOFRegressor(release, adapt="ensemble", random_state=0, **ARRAYS).fit(X, np.arange(len(X)), people)
    assert (regressor.uncertainty(X) > 0).all()


def test_several_targets_are_fitted_at_once(release, signals, tmp_path):
    X, _, people = signals(n_people=4)
    y = np.stack([X.std(axis=(1, 2)) * 1e5, np.abs(X).max(axis=(1, 2)) * 1e5], axis=1)
    regressor = BrainOFRegressor(release, random_state=0, **ARRAYS).fit(X, y, people)
    found = regressor.predict(X)
    assert found.shape == y.shape
    assert BrainOFRegressor.load(regressor.save(tmp_path / "two")).predict(X) == pytest.approx(found, abs=1e-4)
    one = BrainOFRegressor(release, random_state=0, **ARRAYS).fit(X, y[:, 1], people).predict(X)
    assert one.shape == (len(X),)
    assert np.corrcoef(one, found[:, 1])[0, 1] > 0.99  # the penalty is chosen for both together
    with pytest.raises(LabelError, match="in 1 of 32 targets"):
        regressor.fit(X, np.where(y == y[3, 1], np.nan, y))


def test_embedder_adapts_its_backbone_where_labels_are_given(release, signals, monkeypatch):
    X, y, people = signals(n_people=4)
    frozen = BrainOFEmbedder(release, **ARRAYS).fit(X).transform(X)
    adapted = BrainOFEmbedder(release, adapt=LoRA(rank=2, epochs=2), random_state=0, **ARRAYS).fit(X, y, people)
    assert np.abs(adapted.transform(X) - frozen).max() > 1e-4
    few = {"adaptation": "few_shot", "shots": 4, "then": {"adaptation": "lora", "rank": 2, "epochs": 2}}
    adapted = BrainOFEmbedder(release, adapt=few, random_state=0, **ARRAYS).fit(X, y, people)
    assert np.abs(adapted.transform(X) - frozen).max() > 1e-4
    with pytest.raises(LabelError, match="learns from labels"):
        BrainOFEmbedder(release, adapt="lora", **ARRAYS).fit(X)
    monkeypatch.setattr(LoRA, "apply", lambda *_: pytest.fail("was fitted"))
    ensemble = {"adaptation": "ensemble", "of": "lora"}
    for several in (ensemble, {"adaptation": "few_shot", "then": ensemble}):
        with pytest.raises(ConfigError, match="adapt: an ensemble has several embeddings; use lora or full"):
            BrainOFEmbedder(release, adapt=several, **ARRAYS).fit(X, y, people)
    with pytest.raises(ConfigError, match="leaves the embeddings as they are"):
        BrainOFEmbedder(release, adapt="probe", **ARRAYS).fit(X, y)
    with pytest.raises(ConfigError, match="leaves the embeddings as they are"):
        BrainOFEmbedder(release, adapt="few_shot", **ARRAYS).fit(X, y)


def test_bad_input_is_one_clear_sentence(release, signals, recordings, tmp_path):
    X, y, people = signals(n_people=2)
    fit = BrainOFClassifier(release, **ARRAYS).fit
    with pytest.raises(LabelError, match=r"y: one class only, \['rest'\]; give labels of at least two classes"):
        fit(X, np.full(len(X), "rest"))
    with pytest.raises(LabelError, match="7 labels for 8 samples"):
        fit(X, y[:7])
    with pytest.raises(LabelError, match="2 of 8 labels are missing"):
        fit(X, np.array([*y[:6], None, None], dtype=object))
    with pytest.raises(LabelError, match="NaN or infinity in 1 of 8 targets; leave those samples out"):
        BrainOFRegressor(release, **ARRAYS).fit(X, [*range(7), np.nan])
    with pytest.raises(ContractError, match="the model was not trained on meg; it accepts eeg"):
        BrainOFClassifier(release, sfreq=128.0, modality="meg").fit(X * 1e-8, y)
    with pytest.raises(
        ContractError,
        match=r"sample 0: channels: 4 of 4 channels have no position.* channels= of an array.*accept='positions'",
    ):
        BrainOFClassifier(release, sfreq=128.0).fit(X, y)
    with pytest.raises(
        ContractError, match=r"sample 0: unit: eeg amplitude .* µV is outside 0.1 to 2000 µV; give the unit"
    ):
        fit(X * 1e6, y)
    with pytest.raises(ContractError, match="1 s are shorter than any window of training"):
        fit(X[:, :, :128], y)
    with pytest.raises(ConfigError, match="sfreq: is unknown; give the samples per second"):
        BrainOFClassifier(release).fit(X, y)
    broken = X.copy()
    broken[3, 0, 5] = np.nan
    with pytest.raises(RecordingError, match="sample 3: holds NaN"):
        fit(broken, y)
    with pytest.raises(ContractError, match="1 of 1 channels have no position"):
        BrainOFClassifier(release, sfreq=128.0).fit(X[:, 0], y)
    with pytest.raises(ConfigError, match="unknown adaptation 'lorra'; did you mean 'lora'"):
        BrainOFClassifier(release, adapt="lorra", **ARRAYS).fit(X, y)
    (tmp_path / "model.pt").write_bytes(b"pickled")
    with pytest.raises(CheckpointError, match=r"model\.pt: is a pickled file"):
        BrainOFClassifier(str(tmp_path / "model.pt"), **ARRAYS).fit(X, y)


@pytest.mark.parametrize("kind", [BrainOFClassifier, BrainOFRegressor, BrainOFEmbedder])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": "quantum"}, "device: 'quantum' .*; use cpu, or cuda where there is one"),
        ({"window_seconds": -1.0}, "window_seconds: -1; give seconds above 0"),
        ({"accept": "foo"}, "accept: 'foo'; known: atlas, bads"),
        ({"accept": ["positons"]}, "did you mean 'positions'"),
        ({"pool": "meen"}, "unknown pooling 'meen'; did you mean 'mean'"),
    ],
)
def test_arguments_are_checked(kind, change, words):
    X = 2e-5 * np.random.default_rng(0).standard_normal((8, 4, 128))
    with pytest.raises(ConfigError, match=words):
        kind("debug", **ARRAYS, **change).fit(X, np.tile([0, 1], 4))


def test_a_checkpoint_of_another_layout_is_refused(release, signals):
    import json
    from pathlib import Path

    config = Path(release) / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "layout": 99}))
    X, y, _ = signals(n_people=2)
    with pytest.raises(CheckpointError, match="layout 99"):
        BrainOFClassifier(release, **ARRAYS).fit(X, y)


def test_people_in_training_and_test_are_refused_by_score(release, signals, recordings):
    X, y, people = signals(n_people=3)
    data = recordings(X, people)
    classifier = BrainOFClassifier(release).fit(data, y)
    with pytest.raises(LabelError, match=r"3 subjects are in both training and test, such as 'p0'; split by subject"):
        classifier.score(data, y)
    assert classifier.set_params(within_subject=True).score(data, y) > 0.5
    new = recordings(X, [f"new{person}" for person in people])
    assert BrainOFClassifier(release).fit(data, y).score(new, y) > 0.5


@pytest.mark.parametrize("estimator", [BrainOFClassifier, BrainOFRegressor, BrainOFEmbedder])
def test_examples_of_the_documentation_run(estimator):
    import doctest

    source = __import__(estimator.__module__, fromlist=["x"])
    result = doctest.testmod(source)
    assert result.attempted > 3
    assert result.failed == 0


def column(X):
    """A column of a table with an array in each row."""
    import pandas as pd

    return pd.Series(list(X))


def test_tensors_and_lists_of_arrays_are_arrays(release, signals):
    X, y, people = signals(n_people=2)
    expected = BrainOFClassifier(release, random_state=0, **ARRAYS).fit(X, y, people).predict_proba(X)
    for other in (
        torch.tensor(X, requires_grad=True),
        list(X),
        tuple(torch.tensor(x) for x in X),
        X.tolist(),
        column(X),
    ):
        fitted = BrainOFClassifier(release, random_state=0, **ARRAYS).fit(other, y, people)
        np.testing.assert_array_equal(fitted.predict_proba(other), expected)


def test_averages_and_missing_labels_are_named(release, signals):
    import mne
    import pandas as pd

    X, y, _ = signals(n_people=2)
    classifier = BrainOFClassifier(release, random_state=0, **ARRAYS)
    evoked = mne.EvokedArray(X[0], mne.create_info(NAMES, 128.0, "eeg"), verbose="error")
    for given in (evoked, [evoked] * 8):
        with pytest.raises(ConfigError, match=r"Evoked is an average over trials.*EpochsArray\(evoked.data\[None\]"):
            classifier.fit(given, y)
    with pytest.raises(LabelError, match="1 of 8 labels are missing; leave those samples out"):
        classifier.fit(X, pd.Series([pd.NA, *y[1:]], dtype="string"))
    assert classifier.fit(X, pd.Series(y, dtype="string")).classes_.tolist() == ["rest", "task"]
    with pytest.raises(LabelError, match="1 of 8 labels are missing; leave those samples out"):
        classifier.score(X, [None, *y[1:]])
    for dates in (pd.date_range("2020", periods=8), np.arange(8).astype("timedelta64[D]")):
        with pytest.raises(LabelError, match="y: targets are dates or durations; give one number each"):
            BrainOFRegressor(release, random_state=0, **ARRAYS).fit(X, dates)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda X, one: None, "expected signals, got NoneType"),
        (lambda X, one: {"eeg": X}, "expected signals, got dict"),
        (lambda X, one: X[None], r"an array of shape \(1, 8, 4, 256\)"),
        (lambda X, one: [X[0], X[1][:, :100]], "arrays of shapes"),
        (lambda X, one: [one[0], X[0]], "expected signals, got ndarray; give Epochs"),
        (lambda X, one: np.full(X.shape, "a", object), "not numbers"),
        (lambda X, one: [], "no samples"),
        (lambda X, one: X[:0], "no samples"),
    ],
)
def test_what_holds_no_signals_is_said(release, signals, recordings, what, words):
    X, y, _ = signals(n_people=2)
    with pytest.raises((ConfigError, RecordingError), match=words):
        BrainOFClassifier(release, **ARRAYS).fit(what(X, recordings(X)), y)


def test_subjects_that_are_missing_are_named(release, signals, recordings, epochs):
    X, y, people = signals(n_people=2)
    classifier = BrainOFClassifier(release, random_state=0, **ARRAYS)
    for groups in ([None, *"aaabbbb"], np.array([np.nan, 1, 1, 1, 2, 2, 2, 2]), ["", *"aaabbbb"]):
        with pytest.raises(LabelError, match="groups: the subject of 1 of 8 samples is not known"):
            classifier.fit(X, y, groups=groups)
    partly = [r if i else r.replace(entities={}) for i, r in enumerate(recordings(X, people))]
    with pytest.raises(LabelError, match="subject of 1 of 8 samples"):
        classifier.fit(partly, y)
    assert "" not in classifier.fit(partly, y, groups=[*"aaaabbbb"]).subjects_
    with pytest.raises(LabelError, match="one subject alone, so set within_subject=True"):
        alone = [recording.replace(entities={"subject": "01"}) for recording in recordings(X)]
        classifier.fit(alone, y).score(alone, y)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.array([1e308, -1e308] * 4), r"targets up to 1e\+308 are too large, their variance overflows; scale them"),
        (np.arange(8) + 1j, "targets are complex numbers; give one number each"),
        (np.arange(8).astype("datetime64[D]"), "targets are dates or durations; give one number each"),
        ([5.0], "1 sample is too few"),
    ],
)
def test_targets_that_no_regression_can_learn_are_named(release, signals, y, words):
    with pytest.raises(LabelError, match=words):
        BrainOFRegressor(release, **ARRAYS).fit(signals(n_people=2)[0], y)


def test_labels_are_checked_before_anything_is_prepared(release, signals, monkeypatch):
    X, y, _ = signals(n_people=2)
    classifier = BrainOFClassifier(release, **ARRAYS)
    monkeypatch.setattr(type(classifier), "_samples", None)  # not reached
    with pytest.raises(LabelError, match="8 of 8 labels are missing"):
        classifier.fit(X, [None] * 8)
    with pytest.raises(LabelError, match="Unknown label type: continuous.*use BrainOFRegressor for numbers"):
        classifier.fit(X, X[:, 0, 0])


def test_arguments_of_another_kind_are_named(release, signals, tmp_path):
    X, y, _ = signals(n_people=2)
    for size in ("big", 2.5, 0, None):
        with pytest.raises(ConfigError, match="batch_size: .*; give a whole number, 1 or more"):
            BrainOFClassifier(release, batch_size=size, **ARRAYS).fit(X, y)
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match="taken: memory: cannot keep features .*; give a folder you may write to"):
        BrainOFClassifier(release, memory=str(tmp_path / "taken"), **ARRAYS).fit(X, y)
    with pytest.raises(LabelError, match="y: 8 labels for 1 sample; give one per sample"):
        BrainOFClassifier(release, **ARRAYS).fit(X[:1], y)
    turned = r"channels: 4 names for 256 channels of an array of shape \(8, 256, 4\); arrays are \(n, channels, times\)"
    with pytest.raises(ConfigError, match=turned):
        BrainOFClassifier(release, **ARRAYS).fit(X.transpose(0, 2, 1), y)


def test_units_hold_for_epochs_too(release, signals, epochs):
    X, y, _ = signals(n_people=2)
    volts = BrainOFEmbedder(release).fit_transform(epochs(X))
    np.testing.assert_allclose(BrainOFEmbedder(release, units="uV").fit_transform(epochs(X * 1e6)), volts, atol=1e-4)
    with pytest.raises(ReadError, match="'furlong' is not a unit of eeg channels"):
        BrainOFEmbedder(release, units="furlong").fit(epochs(X))


def test_an_embedder_checks_its_labels_like_the_others(release, signals):
    X, y, _ = signals(n_people=2)
    embedder = BrainOFEmbedder(release, adapt=LoRA(epochs=1), **ARRAYS)
    for labels, words in (([None, *y[1:]], "1 of 8 labels are missing"), (y[:3], "3 labels for 8 samples")):
        with pytest.raises(LabelError, match=words):
            embedder.fit(X, labels)
    with pytest.raises(LabelError, match="NaN or infinity in 1 of 8 targets"):
        embedder.fit(X, [np.nan, *np.arange(7.0)])


def test_windows_of_one_sample_stay_in_one_inner_fold(release, signals, recordings):
    """Random labels of recordings of several windows: whoever splits windows finds them easy, and is sure of it."""
    X, _, _ = signals(n_people=8, each=2, seconds=12.0)
    y = np.random.default_rng(0).permutation(np.tile(["a", "b"], len(X) // 2))
    data = [recording.replace(entities={}) for recording in recordings(X)]
    fresh = [
        recording.replace(entities={}) for recording in recordings(signals(n_people=8, each=2, seconds=12.0, seed=1)[0])
    ]
    found = BrainOFClassifier(release, random_state=0).fit(data, y)
    by_sample = BrainOFClassifier(release, random_state=0).fit(data, y, groups=np.arange(len(y)))
    np.testing.assert_array_equal(found.predict_proba(fresh), by_sample.predict_proba(fresh))
    by_window = BrainOFClassifier(release, random_state=0)
    by_window._window_groups = lambda samples, groups: None
    leaking = by_window.fit(data, y).predict_proba(fresh)
    assert found.predict_proba(fresh).max(axis=1).mean() < leaking.max(axis=1).mean()


def test_a_foreign_adapter_names_no_cache_and_no_unknown_argument(release, signals, tmp_path):
    """Pickles lie in a cache and run when they are read: where it is, the user says."""
    X, y, people = signals(n_people=2)
    folder = BrainOFClassifier(release, random_state=0, **ARRAYS).fit(X, y, people).save(tmp_path / "adapter")
    config = folder / "adapter_config.json"
    values = json.loads(config.read_text())
    values["brainof"]["about"]["arguments"] |= {"memory": str(tmp_path / "cache"), "device": "cuda:9"}
    config.write_text(json.dumps(values))
    loaded = BrainOFClassifier.load(folder)
    assert (loaded.memory, loaded.device) == (None, "cpu")
    assert BrainOFClassifier.load(folder, memory="mine").memory == "mine"
    values["brainof"]["about"]["arguments"]["hook"] = "x"
    config.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="unknown argument 'hook'"):
        BrainOFClassifier.load(folder)


def test_a_damaged_config_is_named_with_its_key(release, signals, tmp_path):
    X, y, people = signals(n_people=2)
    folder = BrainOFClassifier(release, random_state=0, **ARRAYS).fit(X, y, people).save(tmp_path / "adapter")
    config = folder / "adapter_config.json"
    whole = config.read_text()
    changes = {
        "base_model_name_or_path": lambda values: values.pop("base_model_name_or_path"),
        "brainof.about": lambda values: values["brainof"].pop("about"),
        "brainof.members": lambda values: values["brainof"].update(members=[]),
        "brainof.members.0.temperature": lambda values: values["brainof"]["members"][0].update(temperature="x"),
        "brainof.members.0.head": lambda values: values["brainof"]["members"][0].update(head=[1]),
        "brainof.base_digest": lambda values: values["brainof"].update(base_digest=None),
        "arguments": lambda values: values["brainof"]["about"].pop("arguments"),
        "classes": lambda values: values["brainof"]["about"].update(classes=3),
    }
    for field, change in changes.items():
        values = json.loads(whole)
        change(values)
        config.write_text(json.dumps(values))
        with pytest.raises(CheckpointError, match=rf"adapter_config\.json: {field}: .*; save it again$"):
            BrainOFClassifier.load(folder)
    for text in ("[" * 100_000, "[]", "\xff"):
        config.write_bytes(text.encode("latin-1"))
        with pytest.raises(CheckpointError, match="is damaged, or no adapter of brainof"):
            BrainOFClassifier.load(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ["a", "b", "c"]}, "classes: 3 different classes for a classification of 2 outputs"),
        ({"classes": ["a", "a"]}, "classes: 1 different classes"),
        ({"classes": None}, "classes: 0 different classes"),
        ({"classes": [float("nan"), "b"]}, "classes.0"),
        ({"classes": [["a"], "b"]}, "classes.0"),
        ({"subjects": "p0"}, "subjects"),
        ({"sfreq": -1}, "sfreq: .* greater than 0"),
        ({"batch_size": "many"}, "batch_size: .* valid integer"),
        ({"window_seconds": "x"}, "window_seconds"),
        ({"units": 3}, "units"),
        ({"channels": 3}, "channels"),
        ({"channels": {"names": 3}}, "channels: is no table"),
        ({"accept": ["everything"]}, "accept.0"),
        ({"prepared": "x"}, "prepared"),
    ],
)
def test_what_a_foreign_adapter_says_of_itself_is_checked(fitted_debug, tmp_path, change, words):
    folder = shutil.copytree(fitted_debug, tmp_path / "foreign")
    config = json.loads((folder / "adapter_config.json").read_text())
    about = config["brainof"]["about"]
    (about if change.keys() <= {"classes", "subjects"} else about["arguments"]).update(change)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"adapter_config.json: {words}"):
        BrainOFClassifier.load(folder)


@pytest.fixture(scope="module")
def fitted_debug(tmp_path_factory):
    X = 2e-5 * np.random.default_rng(0).standard_normal((12, 4, 256))
    classifier = BrainOFClassifier("debug", **ARRAYS, random_state=0).fit(X, np.tile(["a", "b"], 6))
    return classifier.save(tmp_path_factory.mktemp("adapter") / "saved")
