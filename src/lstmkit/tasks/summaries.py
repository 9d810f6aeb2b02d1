"""What an LSTM that labels sequences is held against: models that know nothing of their order."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstmkit.shapes import Array, InputError

SPREADS = 2.0  # differences of fewer standard deviations are called chance


def commonest(labels: Array) -> Any:
    """Return the label that occurs most often; of several the first in order.

    Examples
    --------
    >>> str(commonest(np.array(["b", "a", "b"])))
    'b'
    """
    values, counts = np.unique(labels, return_counts=True)
    return values[np.argmax(counts)]


def summary(sequence: Array) -> Array:
    """Return mean and standard deviation of each feature over the steps that are there.

    Parameters
    ----------
    sequence : (T, F) or (T,)
        Missing values (nan) do not count; a feature without any value has 0 and 0.

    Examples
    --------
    >>> summary(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
    [2.0, 5.0, 1.0, 0.0]
    """
    steps = np.asarray(sequence, np.float64)
    steps = steps.reshape(len(steps), -1)
    there = np.isfinite(steps)
    count = np.maximum(there.sum(0), 1)
    mean = np.where(there, steps, 0.0).sum(0) / count
    squares = np.where(there, (steps - mean) ** 2, 0.0).sum(0) / count
    return np.concatenate([mean, np.sqrt(squares)])


def logistic(sequences: Sequence[Array], labels: Array, other: Sequence[Array]) -> Array:
    """Learn labels from summaries by logistic regression; return those of other sequences.

    scikit-learn's, on standardized summaries, with its own defaults (an L2 penalty of 1).

    Raises
    ------
    InputError
        If scikit-learn is missing.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise InputError(
            "summaries: scikit-learn is missing; expected it for logistic regression "
            '(pip install "lstmkit[tasks]")'
        ) from None
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough for a comparison
        model.fit(np.stack([summary(one) for one in sequences]), labels)
    predicted: Array = model.predict(np.stack([summary(one) for one in other]))
    return predicted


def better(actual: Array, ours: Array, theirs: Array) -> int:
    """Say whether our labels are right more often: 1, or -1, or 0 where that may well be chance.

    Only the sequences on which one of the two is right and the other wrong say anything; by chance
    each of them falls to either side (McNemar 1947).

    Examples
    --------
    >>> actual = np.zeros(30)
    >>> better(actual, actual, actual + 1), better(actual, actual, actual)
    (1, 0)
    """
    for_us = int(((ours == actual) & (theirs != actual)).sum())
    for_them = int(((ours != actual) & (theirs == actual)).sum())
    if abs(for_us - for_them) <= SPREADS * np.sqrt(for_us + for_them):
        return 0
    return 1 if for_us > for_them else -1


def verdict(actual: Array, ours: Array, others: Mapping[str, Array]) -> str:
    """Say in one sentence whether an LSTM's labels are better than the best of the others.

    Examples
    --------
    >>> actual = np.repeat(["a", "b"], 20)
    >>> verdict(actual, actual, {"a guess": np.repeat("a", 40)})
    'The LSTM is worth it here: 50.0 points ahead of a guess.'
    """
    right = {name: float((labels == actual).mean()) for name, labels in others.items()}
    best = max(right, key=lambda name: right[name])
    points = 100 * abs(float((ours == actual).mean()) - right[best])
    sure = better(actual, ours, others[best])
    if sure > 0:
        return f"The LSTM is worth it here: {points:.1f} points ahead of {best}."
    if sure < 0:
        return f"The LSTM loses: {points:.1f} points behind {best}; use that here."
    return (
        f"No clear difference between the LSTM and {best}: {points:.1f} points, which may be "
        f"chance on {len(actual):,} sequences."
    )
