"""The estimators of sequences beside scikit-learn: its own checks, and its tools around them.

Every check of `check_estimator` must have run and passed: none is skipped, none expected to fail.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest

import lstmkit as lk

pytestmark = pytest.mark.conformance

# scikit-learn 1.9: how many checks there are for an estimator of each kind. Of another version the
# least that 1.6 had, so that a suite that ran nothing is no success.
LEAST = {"SequenceClassifier": 50, "SequenceRegressor": 45}
CHECKS = {"1.9": {"SequenceClassifier": 56, "SequenceRegressor": 53}}

# A process of its own: one of the checks needs SCIPY_ARRAY_API before SciPy is loaded.
SCRIPT = textwrap.dedent(
    """
    import json, sys, warnings
    import sklearn
    from sklearn.utils.estimator_checks import check_estimator
    import lstmkit as lk

    warnings.filterwarnings("error")
    # We do not inherit from BaseEstimator, on purpose; it says so once.
    warnings.filterwarnings("ignore", "(?s).*does not inherit from", UserWarning)
    assert lk.backend().startswith(sys.argv[2])
    estimator = getattr(lk, sys.argv[1])(dtype=sys.argv[3])
    rows = check_estimator(estimator, on_fail=None, on_skip=None)
    found = [[row["check_name"], row["status"], repr(row["exception"])] for row in rows]
    print(json.dumps([sklearn.__version__, found]))
    """
)


# In float32 a product of NumPy's rounds a row differently at another place in its matrix, by 1e-6;
# one of the checks allows 1e-7 between two orders of the same samples.
@pytest.mark.parametrize(("engine", "dtype"), [("native", "float32"), ("numpy", "float64")])
@pytest.mark.parametrize("kind", ["SequenceClassifier", "SequenceRegressor"])
def test_every_check_of_scikit_learn_passes(kind, engine, dtype):
    import json

    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "LSTMKIT_BACKEND": engine}
    command = [sys.executable, "-c", SCRIPT, kind, engine, dtype]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    version, rows = json.loads(done.stdout.splitlines()[-1])
    wrong = [row for row in rows if row[1] != "passed"]
    assert not wrong, wrong
    exact = CHECKS.get(".".join(version.split(".")[:2]))
    if exact is None:
        assert len(rows) >= LEAST[kind]
    else:
        assert len(rows) == exact[kind]
    print(f"scikit-learn {version}: {len(rows)} checks of {kind}, all passed")


rng = np.random.default_rng(0)
X = rng.normal(size=(60, 5, 2))
Y = np.where(X[:, -1, 0] > 0, "up", "down")
RAGGED = [x[: 1 + k % 5] for k, x in enumerate(X)]
ENDS = np.array(["up" if x[-1, 0] > 0 else "down" for x in RAGGED])
QUICK = {"hidden_size": 6, "epochs": 20, "batch_size": 8, "random_state": 0}


def test_grid_search_spreads_it_over_processes():
    from sklearn.model_selection import GridSearchCV

    grid = {"hidden_size": [2, 8], "pooling": ["last", "mean"]}
    search = GridSearchCV(lk.SequenceClassifier(**QUICK), grid, cv=2, n_jobs=2).fit(X, Y)
    alone = GridSearchCV(lk.SequenceClassifier(**QUICK), grid, cv=2, n_jobs=1).fit(X, Y)
    assert search.best_params_ == alone.best_params_
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )
    np.testing.assert_array_equal(search.predict(X), alone.predict(X))
    ragged = GridSearchCV(lk.SequenceRegressor(**QUICK), {"hidden_size": [4]}, cv=2)
    assert np.isfinite(ragged.fit(RAGGED, X[:, 0, 0]).best_score_)


def test_cross_validation_of_arrays_lists_and_frames():
    from sklearn.model_selection import cross_val_predict, cross_val_score

    model = lk.SequenceClassifier(**QUICK)
    for given, answer in ((X, Y), (RAGGED, ENDS)):
        scores = cross_val_score(model, given, answer, cv=3)
        assert scores.shape == (3,)
        assert scores.mean() > 0.6
    frame = pd.DataFrame(X[:, :, 0], columns=list("abcde"), index=np.arange(60) + 7)
    areas = cross_val_score(model, frame, Y, cv=3, scoring="roc_auc")
    assert areas.mean() > 0.6
    assert cross_val_predict(model, frame, Y, cv=3).shape == (60,)
    chances = cross_val_predict(model, frame, Y, cv=3, method="predict_proba")
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    values = cross_val_predict(lk.SequenceRegressor(**QUICK), frame, X[:, 0, 0], cv=3)
    assert values.shape == (60,)


def test_scores_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, log_loss, r2_score

    model = lk.SequenceClassifier(**QUICK).fit(X, Y)
    assert model.score(X, Y) == accuracy_score(Y, model.predict(X))
    assert model.loss(X, Y) == pytest.approx(log_loss(Y, model.predict_proba(X)), rel=1e-5)
    for y in (X[:, 0, 0], X[:, 0], np.ones(60)):
        values = lk.SequenceRegressor(**QUICK).fit(X, y)
        assert values.score(X, y) == pytest.approx(r2_score(y, values.predict(X)), rel=1e-9)


def test_pipelines_meta_estimators_and_pickles():
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import VotingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = X[:, :, 0]
    model = lk.SequenceClassifier(**QUICK)
    pipeline = make_pipeline(StandardScaler(), model).fit(rows, Y)
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.predict_proba(rows), pipeline.predict_proba(rows))
    assert pipeline.set_params(sequenceclassifier__hidden_size=3)[-1].hidden_size == 3
    votes = VotingClassifier([("a", model), ("b", pipeline)], voting="soft").fit(rows, Y)
    assert votes.predict(rows).shape == (60,)
    assert CalibratedClassifierCV(model, cv=2).fit(rows, Y).predict_proba(rows).shape == (60, 2)
    target = TransformedTargetRegressor(
        lk.SequenceRegressor(**QUICK), func=np.log1p, inverse_func=np.expm1
    )
    assert (target.fit(rows, np.abs(rows).sum(axis=1)).predict(rows) > -1).all()
