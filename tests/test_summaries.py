from __future__ import annotations

import sys

import numpy as np
import pytest

from lstmkit.shapes import InputError
from lstmkit.tasks import summaries


def test_a_summary_leaves_out_what_is_missing():
    steps = np.array([[1.0, np.nan, np.nan], [3.0, 7.0, np.nan]])
    assert summaries.summary(steps).tolist() == [2.0, 7.0, 0.0, 1.0, 0.0, 0.0]
    assert summaries.summary(steps[:, 0]).tolist() == [2.0, 1.0]


def test_logistic_regression_knows_means_and_not_the_order():
    rng = np.random.default_rng(0)
    labels = np.array(["low", "high"] * 20)
    shifts = np.where(labels == "high", 3.0, 0.0)
    X = [shift + rng.normal(size=(4 + k % 3, 2)) for k, shift in enumerate(shifts)]
    assert (summaries.logistic(X, labels, X) == labels).all()
    backwards = [one[::-1] for one in X]
    assert (summaries.logistic(X, labels, backwards) == summaries.logistic(X, labels, X)).all()


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(InputError, match=r'pip install "lstmkit\[tasks\]"'):
        summaries.logistic([np.zeros((2, 1))] * 2, np.array([0, 1]), [np.zeros((2, 1))])


# Of 30 sequences: how many the LSTM has right, and how many of the same the others have.
@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (30, [5, 10], "The LSTM is worth it here: 66.7 points ahead of b."),
        (10, [30, 10], "The LSTM loses: 66.7 points behind a; use that here."),
        (26, [25, 5], "No clear difference between the LSTM and a: 3.3 points, which may be"),
        (25, [25, 5], "No clear difference between the LSTM and a: 0.0 points, which may be"),
        # Five against none may still be chance (4.5 = 2 sqrt(5) < 5 is just past it), four may.
        (29, [25, 5], "No clear difference between the LSTM and a: 13.3 points"),
        (30, [25, 5], "The LSTM is worth it here: 16.7 points ahead of a."),
        (20, [25, 5], "The LSTM loses: 16.7 points behind a"),
    ],
)
def test_the_verdict(ours, theirs, says):
    truth = np.zeros(30)
    labels = [np.where(np.arange(30) < right, 0, 1) for right in (ours, *theirs)]
    others = dict(zip("ab", labels[1:], strict=True))
    assert summaries.verdict(truth, labels[0], others).startswith(says)
