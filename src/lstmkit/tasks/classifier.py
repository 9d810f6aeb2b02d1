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
    """Learn to which class a sequence belongs."""

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
        """Learn from these sequences once, going on from what is known."""
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
