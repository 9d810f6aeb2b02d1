"""Sequences fed one step at a time to an estimator, with a prediction after each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lstmkit.shapes import Array, InputError, integer_array, real_array
from lstmkit.stream import SequentialStream
from lstmkit.tasks.scaling import Scaling, settle


class SequenceStream:
    """A classifier, regressor or tagger that is fed one step after another; ``stream`` makes it.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmkit as lk
    >>> X = np.random.default_rng(0).normal(size=(40, 6, 2))
    >>> model = lk.SequenceClassifier(8, epochs=5, random_state=0).fit(X, X[:, 0, 0] > 0)
    >>> stream = model.stream()
    >>> answers = [stream.step(X[0, t : t + 1]) for t in range(6)]
    >>> bool(answers[-1][0] == model.predict(X)[0])
    True
    """

    def __init__(
        self,
        owner: str,
        inner: SequentialStream,
        scaling: Scaling,
        missing: str,
        decide: Callable[[Array], Array],
        probabilities: Callable[[Array], Array] | None,
        batch: int,
        dtype: Any,
    ) -> None:
        self._owner, self._inner, self._scaling = f"{owner}: stream.step", inner, scaling
        self._missing, self._decide, self._probabilities = missing, decide, probabilities
        self._shape = batch, len(scaling.center)
        self._dtype = dtype
        self._middle = np.broadcast_to(scaling.middle, self._shape)
        self._last = self._middle.astype(dtype)  # what fills, where numbers are missing

    def step(self, x_t: ArrayLike) -> Array:
        """Take one time step and say what is predicted now.

        Parameters
        ----------
        x_t : array (N, F)
            The features of every row at this step.

        Returns
        -------
        array (N,), or (N, K) where `predict` gives several
        """
        return self._decide(self._take(x_t))

    def step_proba(self, x_t: ArrayLike) -> Array:
        """Take one time step and return the probabilities now, as ``predict_proba`` does."""
        if self._probabilities is None:
            raise InputError(f"{self._owner}_proba: values have no probabilities; call step")
        return self._probabilities(self._take(x_t))

    def _take(self, x_t: ArrayLike) -> Array:
        rows, features = self._shape
        axes = (("batch", rows), ("features", features))
        x = real_array(self._owner, "x_t", x_t, axes)
        wrong = np.isinf(x) if self._missing != "error" else ~np.isfinite(x)
        if wrong.any():
            row, column = (int(k) for k in np.argwhere(wrong)[0])
            missing = np.isnan(x[row, column])
            remedy = 'a model with missing="mask" or "fill"' if missing else "leave the step out"
            raise InputError(
                f"{self._owner}: x_t is {x[row, column]} in column {column}, row {row}; expected "
                f"finite numbers ({remedy})"
            )
        scaled = self._scaling.apply(x, self._dtype)
        if self._missing == "fill":
            scaled = np.where(np.isnan(scaled), self._last, scaled)
            self._last = scaled
        else:
            lengths = np.ones(rows, np.int64)
            scaled = settle(scaled, lengths, self._missing, self._scaling.middle)
        return self._inner.step(scaled)

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Forget: let new sequences begin in all rows, or in the given ones."""
        self._inner.reset(rows)
        chosen: Any = slice(None)
        if rows is not None:
            most = self._shape[0] - 1
            chosen = integer_array("stream.reset", "rows", rows, ("rows",), 0, most)
        self._last = self._last.copy()
        self._last[chosen] = self._middle[chosen]

    def snapshot(self) -> bytes:
        """Return the state as bytes, to be kept anywhere and given to `restore`."""
        kept = self._last.tobytes() if self._missing == "fill" else b""
        return self._inner.snapshot() + kept

    def restore(self, snapshot: bytes) -> None:
        """Go back to a snapshot, of this stream or of one of the same model and rows.

        Raises
        ------
        InputError
            If the bytes are damaged, or of another shape or dtype; the state is left as it was.
        """
        size = self._last.nbytes if self._missing == "fill" else 0
        whole = len(snapshot) - size
        self._inner.restore(snapshot[: max(whole, 0)])
        if size:
            last = np.frombuffer(snapshot[whole:], self._dtype)
            self._last = last.reshape(self._shape).copy()
