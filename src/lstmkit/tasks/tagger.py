"""A label, a value or several yes-or-no labels for every step of a sequence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmkit import losses
from lstmkit.shapes import Array, InputError, one_of, positive_integer
from lstmkit.tasks import sequences, targets
from lstmkit.tasks.estimator import Estimator
from lstmkit.tasks.scaling import Scaling
from lstmkit.tasks.sequences import Sequences

TASKS = ("label", "labels", "value")


class SequenceTagger(Estimator):
    """Learn what every step of a sequence is.

    X is as for `SequenceClassifier`; y has an entry for every step: an array (n, T) or a list of
    arrays (T_k,); with ``task="labels"`` or ``"value"`` also (n, T, K) or (T_k, K).

    Parameters
    ----------
    hidden_size, num_layers : int
        H and L of the LSTM.
    task : {"label", "labels", "value"}
        What a step has: one of several classes; K labels, each 0 or 1 (binary cross-entropy); or a
        value, or K of them (squared error, scaled inside).
    bidirectional : bool
        Whether it also reads each sequence from its end.
    dropout : float
        In training, of each layer's output and before the head.
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
        count), as scikit-learn. Their mean over the data is brought to 1. Only with
        ``task="label"``.
    epochs, batch_size : int
        How often all sequences are learned from, and how many at a time, of similar lengths.
    learning_rate, weight_decay, clip_norm
        Of AdamW: the peak of a cosine that falls to 0 after a warm-up of 2 % of the run; the
        decoupled decay; the bound of the gradient's norm.
    validation_fraction : float or None
        The share of sequences to hold out. Fewer than 30 would say nothing: where it would
        be fewer, none are held out and the run has all its epochs.
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
        With ``task="label"``: the classes, sorted.
    n_features_in_, feature_names_in_
        As in scikit-learn: of rows (n, T) and of a frame its columns, else F; the names where X
        came in frames whose columns have names.
    network_ : Network
        LSTM and head. `network` gives them as a chain.
    result_ : TrainingResult
        The last run: its log, and why it ended. A loaded model has none.

    Notes
    -----
    `predict` gives an array (n, T, ...) for an array, rows or a frame; for a list a list, its
    entries (T_k, ...), or for frames and one answer a step columns with the frames' index.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmkit as lk
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(steps, 1)) for steps in rng.integers(3, 9, size=60)]
    >>> y = [(x.cumsum() > 0).astype(int) for x in X]
    >>> model = lk.SequenceTagger(16, epochs=30, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    >>> [tags.shape for tags in model.predict(X[:2])] == [(len(x),) for x in X[:2]]
    True
    """

    classes_: NDArray[Any]
    target_scaling_: Scaling
    task: str
    class_weight: Any
    _steps = True

    def __init__(
        self,
        hidden_size: int = 64,
        num_layers: int = 1,
        *,
        task: str = "label",
        bidirectional: bool = False,
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

    def _check(self, options: dict[str, Any]) -> None:
        super()._check(options)
        task = self.task if isinstance(self.task, str) else repr(self.task)
        one_of(self._owner, "task", task, TASKS)
        if self.class_weight is not None and self.task != "label":
            raise InputError(
                f"{self._owner}: class_weight is given with task={self.task!r}; expected None, or "
                'task="label"'
            )

    def _learn(self, y: Any, data: Sequences, classes: Any = None) -> Array:
        owner = self._owner
        given = targets.one_a_step(owner, y, data.lengths, self.task != "label")
        if self.task == "label":
            labels = targets.labels(owner, given, data.lengths)
            known = labels if classes is None else targets.labels(owner, np.asarray(classes))
            self.classes_ = targets.classes_in(owner, known)
            encoded = targets.encode(owner, labels, self.classes_, data.lengths)
            targets.weights_of(owner, self.class_weight, self.classes_, encoded)
            return encoded
        self._one_column = given.ndim == 1
        self._columns_of_y = 1 if given.ndim == 1 else given.shape[1]
        if self.task == "value":
            values = targets.values(owner, given, data.lengths).reshape(len(given), -1)
            self.target_scaling_ = Scaling.learn(owner, values, "standard", "y")
        return self._encoded(given, data)

    def _targets(self, y: Any, data: Sequences) -> Array:
        given = targets.one_a_step(self._owner, y, data.lengths, self.task != "label")
        if self.task == "label":
            return targets.encode(self._owner, given, self.classes_, data.lengths)
        return self._encoded(given, data)

    def _encoded(self, given: Array, data: Sequences) -> Array:
        """Return values or yes-or-no labels (tokens, K) as the loss takes them."""
        owner = self._owner
        values = targets.values(owner, given, data.lengths).reshape(len(given), -1)
        if values.shape[1] != self._columns_of_y:
            raise InputError(
                f"{owner}: y has {values.shape[1]} columns; expected "
                f"{self._columns_of_y}, as in fit"
            )
        if self.task == "value":
            return self.target_scaling_.apply(values, np.float64)
        targets.on_or_off(owner, values, data.lengths)
        return values

    def _outputs(self) -> int:
        return len(self.classes_) if self.task == "label" else self._columns_of_y

    def _loss(self, encoded: Array) -> Callable[..., tuple[float, Array]]:
        if self.task == "value":
            return losses.mean_squared_error
        if self.task == "labels":
            return _summed
        weights = targets.weights_of(self._owner, self.class_weight, self.classes_, encoded)
        return losses.cross_entropy if weights is None else partial(targets.weighted, weights)

    def _learned(self) -> dict[str, Any]:
        if self.task == "label":
            return targets.classes_config(self.classes_)
        shape = {"one_column": self._one_column, "outputs": self._columns_of_y}
        return shape | (self._target_config() if self.task == "value" else {})

    def _restore(self, learned: dict[str, Any]) -> None:
        if self.task == "label":
            self.classes_ = targets.classes_of(self._owner, learned)
            return
        self._columns_of_y = positive_integer(self._owner, "outputs", learned["outputs"])
        self._one_column = bool(learned["one_column"]) and self._columns_of_y == 1
        if self.task == "value":
            self._restore_target(learned)
            if len(self.target_scaling_.center) != self._columns_of_y:
                raise InputError(f"{self._owner}: config: outputs disagrees with target_center")

    def _last_layers(self) -> dict[str, Any]:
        return self._target_layer() if self.task == "value" else {}

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> SequenceTagger:
        """Learn from these sequences once, going on from what is known.

        ``classes`` are all that will come; of the first call those of y by default. The first
        call also learns the scaling, and the features.
        """
        found: SequenceTagger = self._partial_fit(X, y, classes)
        return found

    def _decide(self, found: Array) -> Array:
        """From the network's predictions (tokens, K) to answers, one a step."""
        if self.task == "label":
            labels: Array = self.classes_[found.argmax(axis=1)]
            return labels
        if self.task == "labels":
            answers = (found > 0).astype(np.int64)
        else:
            answers = self.target_scaling_.undo(found)
        return answers[:, 0] if self._one_column else answers

    def _probabilities(self, found: Array) -> Array:
        if self.task == "value":
            raise InputError(
                f'{self._owner}: task is "value", which has no probabilities; call predict'
            )
        if self.task == "label":
            return targets.softmax(found)
        with np.errstate(over="ignore"):
            chances: Array = 1 / (1 + np.exp(-found.astype(np.float64)))
        return chances[:, 0] if self._one_column else chances

    def predict(self, X: Any) -> Any:
        """Return what every step is: as y was given, an array (n, T, ...) or a list."""
        found, data = self._run(X)
        return sequences.steps_in_kind(data, self._decide(found))

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of every class, or that each label is on, for every step."""
        found, data = self._run(X)
        return sequences.steps_in_kind(data, self._probabilities(found))

    def score(self, X: Any, y: Any) -> float:
        """Return the share of steps that are right (of ``"labels"``: of labels); of values R²."""
        found, data = self._run(X)
        given = targets.one_a_step(self._owner, y, data.lengths, self.task != "label")
        answers = self._decide(found)
        if self.task == "label":
            return float(np.mean(answers == given))
        encoded = self._encoded(given, data)  # which looks at it
        if self.task == "value":
            return targets.r_squared(targets.values(self._owner, given, data.lengths), answers)
        return float(np.mean(answers.reshape(encoded.shape) == encoded))

    def loss(self, X: Any, y: Any) -> float:
        """Return the mean loss a step of new data, without class weights.

        Nats; of ``task="labels"`` summed over the labels of a step; of values the squared error in
        units of the variance of y in `fit`.
        """
        found, data = self._run(X)
        encoded = self._targets(y, data)
        if self.task == "label":
            return losses.cross_entropy(found, encoded)[0]
        if self.task == "value":
            return losses.mean_squared_error(found.astype(np.float64), encoded)[0]
        return losses.binary_cross_entropy(found, encoded)[0] * self._columns_of_y


def _summed(logits: Array, truth: Array, **mask: Any) -> tuple[float, Array]:
    """Return binary cross-entropy, summed over the labels of a step.

    So gradients, and what ``clip_norm`` bounds, are as large as those of a loss by the step; the
    mean over many labels would never be clipped, and Adam would long remember the first ones.
    """
    value, gradient = losses.binary_cross_entropy(logits, truth, **mask)
    gradient *= gradient.dtype.type(logits.shape[-1])
    return value * logits.shape[-1], gradient
