"""A label for every sequence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmkit import losses
from lstmkit.shapes import Array
from lstmkit.tasks import sequences, targets
from lstmkit.tasks.estimator import Estimator
from lstmkit.tasks.sequences import Sequences


class SequenceClassifier(Estimator):
    """Learn to which class a sequence belongs.

    X is an array (n, T, F), rows (n, T) or a frame of one feature, or a list of arrays (T_k, F) or
    (T_k,), or of frames, of their own lengths.

    Parameters
    ----------
    hidden_size, num_layers : int
        H and L of the LSTM.
    bidirectional : bool
        Whether it also reads each sequence from its end.
    pooling : {"last", "mean", "max"}
        What is made of the steps: where each direction ends reading, the mean or the maximum.
    dropout : float
        In training, of each layer's output and of what is pooled.
    recurrent_dropout, zoneout, layer_norm, peepholes, coupled_gates
        As in `LSTM`.
    scaling : {"standard", "minmax"} or None
        How each feature is scaled, over all steps of the training sequences: to mean 0 and
        deviation 1, or to 0 to 1. It is saved with the model.
    missing : {"error", "mask", "fill"}
        What a nan in X is. An error; or ("mask") the mean of its feature, and for every feature
        there is a second one that says 1 where the first is missing, else 0; or ("fill") the last
        number of that feature in the same sequence, before the first one its mean.
    class_weight : {"balanced"}, dict or None
        How much each class counts in the loss; ``"balanced"`` weighs it by n / (classes · its
        count), as scikit-learn. Their mean over the data is brought to 1.
    epochs, batch_size : int
        How often all sequences are learned from, and how many at a time, of similar lengths.
    learning_rate, weight_decay, clip_norm
        Of AdamW: the peak of a cosine that falls to 0 after a warm-up of 2 % of the run; the
        decoupled decay; the bound of the gradient's norm.
    validation_fraction : float or None
        The share of sequences to hold out, of each class alike. Fewer than 30 would say nothing:
        where it would be fewer, none are held out and the run has all its epochs.
    patience : int or None
        Stop after so many epochs without a gain in the loss of what is held out; the weights of
        the best epoch are kept. None: never, and the last weights are kept.
    dtype : {"float32", "float64"}
        Of weights and arithmetic; scaling is always in float64.
    random_state : int, numpy RandomState or Generator, or None
        Of the weights, the split, the order and dropout. The same int gives the same bits.

    Attributes
    ----------
    classes_ : array
        The classes, sorted.
    n_features_in_, feature_names_in_
        As in scikit-learn: of rows (n, T) and of a frame its columns, else F; the names where X
        came in frames whose columns have names.
    network_ : Network
        LSTM and head. `network` gives them as a chain.
    result_ : TrainingResult
        The last run: its log, and why it ended. A loaded model has none.

    Notes
    -----
    `predict` gives an array; for a frame a column of the same library, with the same index.
    `predict_proba` always gives an array, since scikit-learn's scorers index it as one.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmkit as lk
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(steps, 2)) for steps in rng.integers(4, 9, size=60)]
    >>> y = ["up" if x[-1, 0] > 0 else "down" for x in X]
    >>> model = lk.SequenceClassifier(16, epochs=60, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    >>> model.predict_proba(X[:3]).shape
    (3, 2)
    """

    classes_: NDArray[Any]
    pooling: str
    class_weight: Any
    _type = "classifier"

    def __init__(
        self,
        hidden_size: int = 64,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        pooling: str = "last",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        layer_norm: bool = False,
        peepholes: bool = False,
        coupled_gates: bool = False,
        scaling: str | None = "standard",
        missing: str = "error",
        class_weight: Any = None,
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 5e-3,
        weight_decay: float = 0.0,
        clip_norm: float | None = 1.0,
        validation_fraction: float | None = 0.1,
        patience: int | None = 20,
        dtype: str = "float32",
        random_state: Any = None,
    ) -> None:
        self._store(locals())

    def _learn(self, y: Any, data: Sequences, classes: Any = None) -> Array:
        owner = self._owner
        labels = targets.labels(owner, targets.one_each(owner, y, data.size))
        known = labels
        if classes is not None:
            known = targets.labels(owner, np.asarray(classes))
        self.classes_ = targets.classes_in(owner, known)
        encoded = targets.encode(owner, labels, self.classes_)
        targets.weights_of(owner, self.class_weight, self.classes_, encoded)
        return encoded

    def _targets(self, y: Any, data: Sequences) -> Array:
        labels = targets.one_each(self._owner, y, data.size)
        return targets.encode(self._owner, labels, self.classes_)

    def _outputs(self) -> int:
        return len(self.classes_)

    def _strata(self, encoded: Array) -> Array:
        return encoded

    def _loss(self, encoded: Array) -> Callable[..., tuple[float, Array]]:
        weights = targets.weights_of(self._owner, self.class_weight, self.classes_, encoded)
        return losses.cross_entropy if weights is None else partial(targets.weighted, weights)

    def _learned(self) -> dict[str, Any]:
        return targets.classes_config(self.classes_)

    def _restore(self, learned: dict[str, Any]) -> None:
        self.classes_ = targets.classes_of(self._owner, learned)

    def _decide(self, found: Array) -> Array:
        answers: Array = self.classes_[found.argmax(axis=-1)]
        return answers

    def _probabilities(self, found: Array) -> Array:
        return targets.softmax(found)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> SequenceClassifier:
        """Learn from these sequences once, going on from what is known.

        Parameters
        ----------
        X, y
            As for `fit`.
        classes : sequence, optional
            All classes that will come; of the first call those of y by default. The first call
            also learns the scaling, and the features.
        """
        found: SequenceClassifier = self._partial_fit(X, y, classes)
        return found

    def predict(self, X: Any) -> Any:
        """Return the likeliest class of each sequence."""
        logits, data = self._run(X)
        return sequences.in_kind(data, self._decide(logits))

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of every class, (n, classes) in the order of ``classes_``."""
        return self._probabilities(self._run(X)[0])

    def score(self, X: Any, y: Any) -> float:
        """Return the accuracy: the share of sequences whose class is right."""
        logits, data = self._run(X)
        labels = targets.one_each(self._owner, y, data.size)
        return float(np.mean(self._decide(logits) == labels))

    def loss(self, X: Any, y: Any) -> float:
        """Return the mean cross-entropy of new data in nats, without class weights."""
        logits, data = self._run(X)
        return losses.cross_entropy(logits, self._targets(y, data))[0]
