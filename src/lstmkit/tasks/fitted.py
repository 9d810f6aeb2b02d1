"""What an estimator that has learned can do: run, look inside, become a chain of layers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from lstmkit.layers import Linear, Pooling, Recurrent, Sequential, Trace
from lstmkit.layers.inference import POOLINGS
from lstmkit.shapes import Array, InputError, floating_dtype, positive_integer, shown
from lstmkit.tasks import sequences
from lstmkit.tasks.network import Network, infer
from lstmkit.tasks.parameters import Parameters, not_fitted
from lstmkit.tasks.scaling import Scaling, settle, width
from lstmkit.tasks.sequences import Sequences
from lstmkit.tasks.streaming import SequenceStream

_LSTM_ARGUMENTS = (
    "hidden_size num_layers bidirectional dropout recurrent_dropout zoneout layer_norm peepholes "
    "coupled_gates dtype"
).split()
# What a model is made with: after `fit` another value of these would belong to another model.
_MADE_WITH = (*_LSTM_ARGUMENTS, "pooling", "scaling", "missing", "task")


class Fitted(Parameters):
    """The network with its scaling, and the features that it takes."""

    hidden_size: int
    num_layers: int
    bidirectional: bool
    dropout: float
    dtype: Any
    scaling: str | None
    missing: str
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    clip_norm: float | None
    validation_fraction: float | None
    patience: int | None
    random_state: Any

    scaling_: Scaling
    target_scaling_: Scaling
    network_: Network
    n_features_in_: int

    _steps = False  # whether every step has a prediction
    _type: str | None = None  # scikit-learn's word for it

    # ------------------------------ scikit-learn's conventions

    def __sklearn_is_fitted__(self) -> bool:
        return "network_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        """Say what it can, in scikit-learn's words (1.6 and later)."""
        utils = import_module("sklearn.utils")
        several = self._type != "classifier"
        return utils.Tags(
            estimator_type=self._type,
            target_tags=utils.TargetTags(
                required=True,
                one_d_labels=self._type == "classifier",
                two_d_labels=self._steps,
                multi_output=several,
            ),
            classifier_tags=utils.ClassifierTags() if self._type == "classifier" else None,
            regressor_tags=utils.RegressorTags() if self._type == "regressor" else None,
            input_tags=utils.InputTags(
                three_d_array=True, allow_nan=self.missing in ("mask", "fill")
            ),
        )

    def _fitted(self) -> Any:
        if not self.__sklearn_is_fitted__():
            raise not_fitted()(
                f"{self._owner}: the model knows nothing yet; call fit or lk.load first"
            )
        for name, value in self._made_with.items():
            now = getattr(self, name)
            if now is not value and repr(now) != repr(value):
                raise InputError(
                    f"{self._owner}: {name} is {shown(repr(now), 60)} and the model was fitted "
                    f"with {shown(repr(value), 60)}; call fit again, or set it back"
                )
        return self

    def _note(self) -> None:
        """Keep what the model is made with."""
        known = vars(self)
        self._made_with = {name: known[name] for name in _MADE_WITH if name in known}

    # ------------------------------ what a kind of estimator says of itself

    def _outputs(self) -> int:
        """Return how many numbers a prediction of the network has."""
        raise NotImplementedError

    def _decide(self, found: Array) -> Array:
        """From the network's predictions (..., K) to answers."""
        raise NotImplementedError

    # ------------------------------ what comes in

    def _read(self, X: Any) -> Sequences:
        data = sequences.read(self._owner, X)
        sequences.check_finite(self._owner, data, self.missing in ("mask", "fill"))
        return data

    def _remember(self, data: Sequences) -> None:
        """Keep how many features there are, and their names."""
        self.n_features_in_ = data.columns
        self._features = int(data.values.shape[1])
        self._columns = data.columns if data.kind == "table" else None
        if data.names is not None:
            self.feature_names_in_ = np.array(data.names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _same_features(self, data: Sequences) -> None:
        """Raise unless the features are those that were learned."""
        known = getattr(self, "feature_names_in_", None)
        expected = self.n_features_in_
        wrong = int(data.values.shape[1]) != self._features
        if data.kind == "table" and self._columns is not None:
            wrong = data.columns != self._columns
        if wrong:
            rows = self._columns is not None
            found = data.columns if rows else int(data.values.shape[1])
            which = f" ({', '.join(map(str, known))})" if known is not None else ""
            got = f" ({', '.join(data.names)})" if data.names is not None else ""
            if data.kind == "table" and not rows:
                remedy = (
                    "rows (n, T) and frames hold one feature, give an array (n, T, F) or a list"
                )
            else:
                remedy = f"give the columns of fit, not others{shown(got)}"
            raise InputError(
                f"{self._owner}: X has {found} features, but {self._owner} is expecting "
                f"{expected} features as input{shown(which)}; {remedy}"
            )
        if known is not None and data.names is not None and list(known) != data.names:
            missing = [one for one in known if one not in data.names]
            unknown = [one for one in data.names if one not in known]
            said = [f"missing: {', '.join(missing)}"] if missing else []
            said += [f"unknown: {', '.join(unknown)}"] if unknown else []
            raise InputError(
                f"{self._owner}: The feature names should match those that were passed during "
                f"fit, in their order ({shown('; '.join(said) or 'another order')}); give "
                f"{shown(', '.join(known))}"
            )

    @property
    def _pooling(self) -> str | None:
        pooling: str | None = getattr(self, "pooling", None)
        return pooling

    def _lstm_arguments(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in _LSTM_ARGUMENTS}
        return given | {"input_size": width(self._features, self.missing)}

    def _prepared(self, data: Sequences) -> Array:
        """Return what the network sees: scaled, and with nothing missing."""
        scaled = self.scaling_.apply(data.values, floating_dtype(self._owner, self.dtype))
        found = settle(scaled, data.lengths, self.missing, self.scaling_.middle)
        with np.errstate(over="ignore", invalid="ignore"):
            fine = np.isfinite(found.sum(dtype=np.float64))
        if not fine and not np.isfinite(found).all():
            row, feature = (int(k) for k in np.argwhere(~np.isfinite(found))[0])
            raise InputError(
                f"{self._owner}: X is {data.values[row, feature % self._features]:g} in "
                f"{data.place(row, feature)}, too large a number for {self.dtype}, or an infinity; "
                'expected smaller ones (scale it, or choose dtype="float64")'
            )
        return found

    # ------------------------------ using what is learned

    def _run(self, X: Any) -> tuple[Array, Sequences]:
        """Return the network's predictions, (n, K) or (tokens, K), and what X was."""
        self._fitted()
        data = self._read(X)
        self._same_features(data)
        return infer(self.network_, self._prepared(data), data.lengths, self._steps), data

    def trace(self, X: Any) -> Any:
        """Look inside: every gate and state of the LSTM at every step.

        Returns
        -------
        Trace or list of Trace
            Of an array a ``lstmkit.layers.Trace``, each of its parts (L·D, n, T, H); of a list
            one for each sequence, its parts (L·D, 1, T_k, H).
        """
        self._fitted()
        data = self._read(X)
        self._same_features(data)
        values = self._prepared(data)
        lstm = self.network_.lstm
        if data.kind != "list":
            return lstm.trace(values.reshape(data.size, -1, values.shape[1]))
        starts = data.starts
        found: list[Trace] = []
        for start, length in zip(starts, data.lengths, strict=True):
            found.append(lstm.trace(values[None, start : start + length]))
        return found

    def stream(self, batch_size: int = 1) -> SequenceStream:
        """Return a stream: sequences fed one step at a time, with a prediction after each.

        What it says after a step is, bit for bit with the native engine, what `predict` says of
        the sequence so far (of a tagger: of this step).

        Raises
        ------
        InputError
            If the model is bidirectional, or its pooling is not ``"last"``.
        """
        self._fitted()
        if self.bidirectional:
            raise InputError(
                f"{self._owner}: stream: the model is bidirectional and reads from the end as "
                "well; expected bidirectional=False (or call predict on whole sequences)"
            )
        if self._pooling not in ("last", None):
            raise InputError(
                f"{self._owner}: stream: pooling is {self._pooling!r}, of all steps; expected "
                'pooling="last" (or call predict on whole sequences)'
            )
        batch = positive_integer(f"{self._owner}: stream", "batch_size", batch_size)
        chain = Sequential({"lstm": self.network_.lstm, "head": self.network_.head})
        return SequenceStream(
            self._owner,
            chain.stream(batch),
            self.scaling_,
            self.missing,
            self._decide,
            getattr(self, "_probabilities", None),
            batch,
            chain.dtype,
        )

    # ------------------------------ as a chain of layers

    @property
    def network(self) -> Sequential:
        """The model as a chain of layers: to write for other libraries, or to run without us.

        ``scaling`` (a Linear; left out with ``scaling=None``), ``lstm``, ``pooling`` (the mean or
        the maximum), ``head``, and of values ``target``, which undoes their scaling. It takes the
        features as they are and gives logits or values, equal to the model's but for rounding.
        The weights are shared. With ``missing="mask"`` it takes 2F numbers: the features, their
        mean where one is missing, and 1 for each that is missing. With ``"fill"`` it takes
        features that have been filled.
        """
        self._fitted()
        layers: dict[str, Any] = {}
        if self.scaling is not None:
            layers["scaling"] = self._scaling_layer()
        layers["lstm"] = Recurrent(self.network_.lstm, last=self._pooling == "last")
        if self._pooling in POOLINGS:
            layers["pooling"] = Pooling(self._pooling)
        layers["head"] = self.network_.head
        return Sequential(layers | self._last_layers())

    def _last_layers(self) -> dict[str, Any]:
        return {}

    def _target_layer(self) -> dict[str, Any]:
        """Return the layer that undoes the scaling of values."""
        scaling = self.target_scaling_
        return {"target": diagonal(scaling.scale, scaling.center, self.dtype)}

    def _scaling_layer(self) -> Linear:
        size = width(self._features, self.missing)
        center, scale = np.zeros(size), np.ones(size)
        center[: self._features], scale[: self._features] = self.scaling_[:2]
        return diagonal(1 / scale, -center / scale, self.dtype)


def diagonal(scale: Array, shift: Array, dtype: Any) -> Linear:
    """Return a Linear that multiplies each number by its scale and adds its shift."""
    layer = Linear(len(scale), len(scale), dtype=dtype, seed=0)
    layer.parameters["weight"][...] = np.diag(scale)
    layer.parameters["bias"][...] = shift
    return layer
