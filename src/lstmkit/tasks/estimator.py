"""What the estimators of sequences have in common: parameters, training, files, looking inside.

They follow scikit-learn's conventions without inheriting from it: ``__init__`` only stores,
``fit`` checks, what is learned ends in ``_``.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmkit import losses, optimizers, store, training
from lstmkit.layers import LSTM, Linear, Recurrent, Sequential, Trace
from lstmkit.shapes import (
    Array,
    InputError,
    floating_dtype,
    one_of,
    positive_integer,
    real_number,
    shown,
)
from lstmkit.tasks import sequences
from lstmkit.tasks.network import POOLINGS, Network, SequenceBatches, infer
from lstmkit.tasks.scaling import MISSING, SCALINGS, Scaling, settle, width
from lstmkit.tasks.sequences import Sequences

FEWEST = 10
"""Fewer sequences than these are not held out: they would say nothing."""

_WARMUP = 0.02  # of the run
_LSTM_ARGUMENTS = (
    "hidden_size num_layers bidirectional dropout recurrent_dropout zoneout layer_norm peepholes "
    "coupled_gates dtype"
).split()
_OWN = ("model", "batches", "loss", "steps", "seconds", "seed", "validation", "about", "patience")
_LEARNED = ("features", "columns", "names", "center", "scale", "mean")


class Estimator:
    """The base of `SequenceClassifier`, `SequenceRegressor` and `SequenceTagger`."""

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
    result_: training.TrainingResult

    _steps = False  # whether every step has a prediction
    _type: str | None = None  # scikit-learn's word for it

    # ------------------------------ what a kind of estimator says of itself

    def _learn(self, y: Any, data: Sequences, classes: Any = None) -> Array:
        """Learn what targets there are; return them as the loss takes them."""
        raise NotImplementedError

    def _targets(self, y: Any, data: Sequences) -> Array:
        """Return targets of the kinds that were learned."""
        raise NotImplementedError

    def _outputs(self) -> int:
        """Return how many numbers a prediction of the network has."""
        raise NotImplementedError

    def _loss(self, encoded: Array) -> Callable[..., tuple[float, Array]]:
        """Return the loss to train by."""
        raise NotImplementedError

    def _strata(self, encoded: Array) -> Array | None:
        """Return what the parts of a split should have in equal shares; None for nothing."""
        return None

    def _learned(self) -> dict[str, Any]:
        """What a file says beside the arguments, in JSON values."""
        return {}

    def _restore(self, learned: dict[str, Any]) -> None:
        """Undo `_learned`."""

    # ------------------------------ scikit-learn's conventions

    def _store(self, given: dict[str, Any]) -> None:
        """Keep the arguments of ``__init__`` as they came."""
        for name in self._names():
            setattr(self, name, given[name])

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    @property
    def _owner(self) -> str:
        return type(self).__name__

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments by name, as scikit-learn asks for them."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Any:
        """Change arguments; they are looked at by the next `fit`.

        Raises
        ------
        InputError
            If there is no argument of that name.
        """
        known = self._names()
        for name in params:
            if name not in known:
                raise InputError(
                    f"{self._owner}: Invalid parameter {shown(repr(name), 60)}; expected one of "
                    f"{', '.join(known)}"
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        parameters = inspect.signature(type(self).__init__).parameters
        changed = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if repr(value) != repr(parameters[name].default)
        ]
        return f"{self._owner}({', '.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        """Say what it can, in scikit-learn's words (1.6 and later)."""
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        several = self._type != "classifier"
        return Tags(
            estimator_type=self._type,
            target_tags=TargetTags(
                required=True,
                one_d_labels=self._type == "classifier",
                two_d_labels=self._steps,
                multi_output=several,
            ),
            classifier_tags=ClassifierTags() if self._type == "classifier" else None,
            regressor_tags=RegressorTags() if self._type == "regressor" else None,
            input_tags=InputTags(three_d_array=True, allow_nan=self.missing in ("mask", "fill")),
        )

    def _fitted(self) -> Any:
        if not self.__sklearn_is_fitted__():
            raise _not_fitted()(
                f"{self._owner}: the model knows nothing yet; call fit or lk.load first"
            )
        return self

    # ------------------------------ learning

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        validation: tuple[Any, Any] | None = None,
        resume: bool = False,
        **options: Any,
    ) -> Any:
        """Learn from sequences and what they are to give, from new weights.

        Parameters
        ----------
        X : array (n, T, F), rows (n, T), a frame, or a list of sequences
            An array (n, T) or a frame holds n sequences of one feature. In a list each sequence is
            (T_k, F), or (T_k,) of one feature, or a frame whose columns are the features.
        y
            One target for each sequence, or for each step: see the class.
        validation : pair (X, y), optional
            What to measure on after every epoch; without it ``validation_fraction`` of the
            sequences is held out.
        resume : bool
            Whether to go on from the file ``checkpoint``; needs a ``random_state`` of int.
        **options
            Other arguments of `training.train`: ``progress``, ``metrics``, ``checkpoint``,
            ``optimizer``, ``plateau``, ...

        Returns
        -------
        estimator
            Itself. After Ctrl-C too: then ``result_.reason`` is ``"interrupted"``.

        Raises
        ------
        InputError
            If an argument, a parameter or an entry of X or y cannot be used; one line names it.
        TrainingDiverged
            If the loss or a gradient becomes nan or infinite.
        """
        self._check(options)
        data = self._read(X)
        encoded = self._learn(y, data)
        self._remember(data)
        rng = np.random.default_rng(self._seed())
        held_out: tuple[Sequences, Array] | None = None
        if validation is not None:
            held_out = self._validation(validation)
        elif self.validation_fraction:
            data, encoded, held_out = self._split(data, encoded, rng)
        self.scaling_ = Scaling.learn(self._owner, data.values, self.scaling)
        self.network_ = self._network(rng)
        seeds = rng.integers(2**32, size=2)
        batches = self._batches(data, encoded, int(seeds[0]))
        every = batches.steps_per_epoch
        steps = self.epochs * every
        if resume and not isinstance(self.random_state, int | np.integer):
            raise InputError(
                f"{self._owner}: resume is True and random_state is "
                f"{shown(repr(self.random_state), 40)}; expected an int, that the run can be "
                "the same"
            )
        given = {"optimizer": optimizers.adamw(weight_decay=self.weight_decay)}
        if held_out is not None:
            given |= {
                "validation": self._batches(*held_out),
                "validate_every": every,
                "patience": self.patience,
            }
        given |= {"report_every": every, "clip_norm": self.clip_norm} | options
        if options.get("checkpoint") is not None:
            given["about"] = {
                "kind": self._owner,
                "config": self.config,
                "run": {
                    "data": hashlib.sha256(data.values.tobytes() + encoded.tobytes()).hexdigest()
                },
            }
        self.result_ = training.train(
            self.network_,
            batches,
            self._loss(encoded),
            learning_rate=optimizers.cosine(self.learning_rate, steps, warmup=_WARMUP * steps),
            steps=steps,
            seed=int(seeds[1]),
            resume=resume,
            nats=self._type == "classifier",
            **given,
        )
        self._memory = None
        return self

    def _partial_fit(self, X: Any, y: Any, classes: Any = None) -> Any:
        """Learn from these sequences once, one epoch, from the weights as they are."""
        self._check({})
        first = not self.__sklearn_is_fitted__()
        data = self._read(X)
        if first:
            encoded = self._learn(y, data, classes)
            self._remember(data)
            self._rng = np.random.default_rng(self._seed())
            self.scaling_ = Scaling.learn(self._owner, data.values, self.scaling)
            self.network_ = self._network(self._rng)
            self._memory = None
        else:
            self._same_features(data)
            encoded = self._targets(y, data)
        if getattr(self, "_rng", None) is None:
            self._rng = np.random.default_rng(self._seed())
        seeds = self._rng.integers(2**32, size=2)
        batches = self._batches(data, encoded, int(seeds[0]))
        kept: dict[str, Any] = {"state": getattr(self, "_memory", None)}
        self.result_ = training.train(
            self.network_,
            batches,
            self._loss(encoded),
            optimizer=_remembering(optimizers.adamw(weight_decay=self.weight_decay), kept),
            learning_rate=self.learning_rate,
            steps=batches.steps_per_epoch,
            seed=int(seeds[1]),
            clip_norm=self.clip_norm,
            nats=self._type == "classifier",
        )
        self._memory = kept["state"]
        return self

    def _check(self, options: dict[str, Any]) -> None:
        """Look at the parameters, and at the names of the options."""
        owner = self._owner
        one_of(owner, "scaling", self.scaling, SCALINGS)
        one_of(owner, "missing", self.missing, MISSING)
        if not self._steps:
            one_of(owner, "pooling", self._pooling, POOLINGS)
        for name in ("hidden_size", "num_layers", "epochs", "batch_size"):
            positive_integer(owner, name, getattr(self, name))
        real_number(owner, "learning_rate", self.learning_rate, 0.0, open_ends="low")
        real_number(owner, "weight_decay", self.weight_decay, 0.0)
        real_number(owner, "dropout", self.dropout, 0.0, 1.0, open_ends="high")
        if self.validation_fraction is not None:
            real_number(
                owner, "validation_fraction", self.validation_fraction, 0.0, 1.0, open_ends="high"
            )
        if self.patience is not None:
            positive_integer(owner, "patience", self.patience)
        floating_dtype(owner, self.dtype)
        known = set(inspect.signature(training.train).parameters) - set(_OWN)
        for name in options:
            if name not in known:
                raise TypeError(f"{owner}.fit() got an unexpected keyword argument {name!r}")

    def _seed(self) -> int | None:
        state = self.random_state
        if state is None:
            return None
        if isinstance(state, np.random.RandomState):
            return int(state.randint(2**31 - 1))
        if isinstance(state, np.random.Generator):
            return int(state.integers(2**31 - 1))
        return positive_integer(self._owner, "random_state", state, least=0)

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
            which = f" ({', '.join(map(str, known))})" if known is not None else ""
            got = f" ({', '.join(data.names)})" if data.names is not None else ""
            raise InputError(
                f"{self._owner}: X has {data.columns} features, but {self._owner} is expecting "
                f"{expected} features as input{shown(which)}; it got other columns{shown(got)} "
                "than in fit, give the same ones"
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

    def _validation(self, given: Any) -> tuple[Sequences, Array]:
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise InputError(f"{self._owner}: validation is no pair (X, y)")
        data = self._read(given[0])
        self._same_features(data)
        return data, self._targets(given[1], data)

    def _split(
        self, data: Sequences, encoded: Array, rng: np.random.Generator
    ) -> tuple[Sequences, Array, tuple[Sequences, Array] | None]:
        """Hold out a share of the sequences, or nothing where it would be fewer than `FEWEST`."""
        fraction = float(self.validation_fraction or 0)
        strata = self._strata(encoded)
        order = rng.permutation(data.count)
        if strata is None:
            strata = np.zeros(data.count, np.int64)
        held = np.zeros(data.count, bool)
        # Of every class its share: those of a class stand together, and every 1/fraction-th of
        # the row is held out; the first of a class never is.
        order = order[np.argsort(strata[order], kind="stable")]
        share = np.floor(np.arange(1, data.count + 1) * fraction)
        marked = np.diff(share, prepend=0.0) > 0
        firsts = np.diff(strata[order], prepend=-1) != 0
        held[order] = marked & ~firsts
        if held.sum() < FEWEST:
            return data, encoded, None
        parts = []
        for chosen in (np.flatnonzero(~held), np.flatnonzero(held)):
            part = encoded[chosen]
            if self._steps:
                part = encoded[sequences.tokens_of(data.starts[chosen], data.lengths[chosen])]
            parts.append((data.take(chosen), part))
        return *parts[0], parts[1]

    @property
    def _pooling(self) -> str | None:
        pooling: str | None = getattr(self, "pooling", None)
        return pooling

    def _lstm_arguments(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in _LSTM_ARGUMENTS}
        return given | {"input_size": width(self._features, self.missing)}

    def _network(self, rng: np.random.Generator) -> Network:
        lstm = LSTM(**self._lstm_arguments(), seed=rng)
        head = Linear(lstm.output_size, self._outputs(), dtype=self.dtype, seed=rng)
        return Network(lstm, head, self._pooling, self.dropout)

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

    def _batches(self, data: Sequences, encoded: Array, seed: int | None = None) -> SequenceBatches:
        if encoded.dtype.kind == "f":
            encoded = encoded.astype(floating_dtype(self._owner, self.dtype))
        return SequenceBatches(
            self._prepared(data),
            data.lengths,
            encoded,
            steps=self._steps,
            batch_size=self.batch_size,
            seed=seed,
        )

    # ------------------------------ using what is learned

    def _run(self, X: Any) -> tuple[Array, Sequences]:
        """Return the network's predictions, (n, K) or (tokens, K), and what X was."""
        self._fitted()
        data = self._read(X)
        self._same_features(data)
        return infer(self.network_, self._prepared(data), data.lengths, self._steps), data

    def loss(self, X: Any, y: Any) -> float:
        """Return the mean loss of new data, without class weights.

        Cross-entropy in nats, a sequence (of a tagger: a step; of its ``task="labels"``: a step,
        summed over its labels); of values the squared error in units of their scaled spread.
        """
        raise NotImplementedError

    def trace(self, X: Any) -> Any:
        """Look inside: every gate and state of the LSTM at every step.

        Returns
        -------
        Trace or list of Trace
            Of an array the `lstmkit.layers.Trace`, each of its parts (L·D, n, T, H); of a list one
            for each sequence, its parts (L·D, 1, T_k, H).
        """
        self._fitted()
        data = self._read(X)
        self._same_features(data)
        values = self._prepared(data)
        lstm = self.network_.lstm
        if data.kind != "list":
            return lstm.trace(values.reshape(data.count, -1, values.shape[1]))
        starts = data.starts
        found: list[Trace] = []
        for start, length in zip(starts, data.lengths, strict=True):
            found.append(lstm.trace(values[None, start : start + length]))
        return found

    # ------------------------------ files and other forms

    @property
    def network(self) -> Sequential:
        """The model as a chain of layers: to write for other libraries, or to run without us.

        ``scaling`` (a Linear; left out with ``scaling=None``), ``lstm``, ``head``, and of values
        ``target``, which undoes their scaling. It takes the features as they are and gives logits
        or values, equal to the model's but for rounding. The weights are shared. With
        ``missing="mask"`` it takes 2F numbers: the features, their mean where one is missing, and
        1 for each that is missing. With ``"fill"`` it takes features that have been filled.

        Raises
        ------
        InputError
            With ``pooling="mean"`` or ``"max"``, for which a chain has no layer.
        """
        self._fitted()
        if self._pooling not in ("last", None):
            raise InputError(
                f"{self._owner}: network: pooling is {self._pooling!r}, for which a chain has no "
                'layer; expected a model with pooling="last"'
            )
        layers: dict[str, Any] = {}
        if self.scaling is not None:
            layers["scaling"] = self._scaling_layer()
        layers["lstm"] = Recurrent(self.network_.lstm, last=not self._steps)
        layers["head"] = self.network_.head
        return Sequential(layers | self._last_layers())

    def _last_layers(self) -> dict[str, Any]:
        return {}

    def _target_layer(self) -> dict[str, Any]:
        """Return the layer that undoes the scaling of values."""
        scaling = self.target_scaling_
        return {"target": diagonal(scaling.scale, scaling.center, self.dtype)}

    def _target_config(self) -> dict[str, Any]:
        """Return the scaling of values as JSON values."""
        scaling = self.target_scaling_
        return {"target_center": scaling.center.tolist(), "target_scale": scaling.scale.tolist()}

    def _restore_target(self, learned: dict[str, Any]) -> None:
        """Undo `_target_config`, with nothing believed."""
        center, scale = (np.array(learned[f"target_{n}"], np.float64) for n in ("center", "scale"))
        if (
            center.ndim != 1
            or center.shape != scale.shape
            or not len(center)
            or not np.isfinite([center, scale]).all()
            or (scale <= 0).any()
        ):
            raise InputError(
                f"{self._owner}: config: target_center and target_scale are no finite lists"
            )
        self.target_scaling_ = Scaling(center, scale, center)

    def _scaling_layer(self) -> Linear:
        size = width(self._features, self.missing)
        center, scale = np.zeros(size), np.ones(size)
        center[: self._features], scale[: self._features] = self.scaling_[:2]
        return diagonal(1 / scale, -center / scale, self.dtype)

    @property
    def parameters(self) -> dict[str, Array]:
        """The weights by name, shared: what is changed in place is what the model uses."""
        self._fitted()
        return self.network_.parameters

    @property
    def config(self) -> dict[str, Any]:
        """The arguments and what was learned beside the weights: JSON values, all of a file."""
        self._fitted()
        given = {name: _plain(value) for name, value in self.get_params().items()}
        if not isinstance(given["random_state"], int):
            given["random_state"] = None
        if isinstance(given.get("class_weight"), dict):
            given["class_weight"] = [
                [_plain(label), float(weight)]
                for label, weight in self.class_weight.items()  # type: ignore[attr-defined]
            ]
        names = getattr(self, "feature_names_in_", None)
        given["dtype"] = np.dtype(self.dtype).name
        return given | {
            "learned": {
                "features": self._features,
                "columns": self._columns,
                "names": None if names is None else list(names),
                "center": self.scaling_.center.tolist(),
                "scale": self.scaling_.scale.tolist(),
                "mean": self.scaling_.mean.tolist(),
                **self._learned(),
            }
        }

    @classmethod
    def from_parameters(cls, config: dict[str, Any], parameters: dict[str, Array]) -> Any:
        """Make a model from its `config` and arrays, which are copied.

        Raises
        ------
        InputError
            If an argument is missing or unknown, or an array's name, shape or dtype disagrees.
        """
        owner = cls.__name__
        names = {*cls._names(), "learned"}
        if set(config) != names:
            strange = sorted(set(config) ^ names)
            raise InputError(
                f"{owner}: config lacks, or should not have, {shown(', '.join(strange))}"
            )
        arguments = {name: value for name, value in config.items() if name != "learned"}
        if isinstance(arguments.get("class_weight"), list):
            arguments["class_weight"] = {
                label: weight for label, weight in arguments["class_weight"]
            }
        model = cls(**arguments)
        model._check({})
        learned = dict(config["learned"])
        features = positive_integer(owner, "features", learned["features"])
        parts = []
        for name in ("center", "scale", "mean"):
            part = np.array(learned[name], np.float64)
            if part.shape != (features,) or not np.isfinite(part).all():
                raise InputError(f"{owner}: config: {name} is no list of {features} numbers")
            parts.append(part)
        if (parts[1] <= 0).any():
            raise InputError(f"{owner}: config: scale has a number that is not above 0")
        columns, feature_names = learned["columns"], learned["names"]
        if columns is not None:
            positive_integer(owner, "columns", columns)
        model._features, model._columns = features, columns
        count = features if columns is None else columns
        if feature_names is not None:
            if len(feature_names) != count or not all(isinstance(n, str) for n in feature_names):
                raise InputError(f"{owner}: config: names is no list of {count} names")
        model._restore({name: v for name, v in learned.items() if name not in _LEARNED})
        # Nothing is made before the arrays are known to have the shapes that the config asks for.
        dtype = floating_dtype(owner, model.dtype)
        lstm_config = LSTM.config_of(**model._lstm_arguments())
        wanted = LSTM.shapes_of(**model._lstm_arguments())
        size = model.hidden_size * (2 if model.bidirectional else 1)
        shapes: dict[str, tuple[int, ...]] = {f"lstm.{n}": shape for n, shape in wanted.items()}
        shapes |= {"head.weight": (model._outputs(), size), "head.bias": (model._outputs(),)}
        expected = {name: f"{dtype} {shape}" for name, shape in shapes.items()}
        found = {name: f"{array.dtype} {array.shape}" for name, array in parameters.items()}
        for name in sorted({*expected, *found}):
            has, wants = found.get(name, "nothing"), expected.get(name, "nothing")
            if has != wants:
                raise InputError(f"{owner}: {shown(name, 60)} is {has}; expected {wants}")
        own: dict[str, dict[str, Array]] = {"lstm": {}, "head": {}}
        for name, array in parameters.items():
            layer, _, short = name.partition(".")
            own[layer][short] = array
        lstm = LSTM.from_parameters(lstm_config, own["lstm"])
        head_config = {
            "input_size": size,
            "output_size": model._outputs(),
            "bias": True,
            "dtype": dtype.name,
        }
        head = Linear.from_parameters(head_config, own["head"])
        model.scaling_ = Scaling(*parts)
        model.network_ = Network(lstm, head, model._pooling, model.dropout)
        model.n_features_in_ = count
        if feature_names is not None:
            model.feature_names_in_ = np.array(feature_names, dtype=object)
        return model

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one safetensors file; ``lk.load(path)`` reads it."""
        store.save(path, self._owner, self.config, self.parameters)


# --------------------------------------------------------------------------------- helpers


def diagonal(scale: Array, shift: Array, dtype: Any) -> Linear:
    """Return a Linear that multiplies each number by its scale and adds its shift."""
    layer = Linear(len(scale), len(scale), dtype=dtype, seed=0)
    layer.parameters["weight"][...] = np.diag(scale)
    layer.parameters["bias"][...] = shift
    return layer


def softmax(logits: Array) -> Array:
    """Return probabilities of logits (..., K), which sum to 1 in float64."""
    z = logits.astype(np.float64)
    z -= z.max(axis=-1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=-1, keepdims=True)
    return z


def weighted(weights: Array, logits: Array, labels: Array) -> tuple[float, Array]:
    """Return the mean of weighted cross-entropies over the labels that count (-1 does not).

    Divided by the number of labels, not by the sum of their weights: so batches add up to the
    whole, whatever classes are in each.
    """
    value, gradient = losses.cross_entropy(logits, labels, weights=weights)
    counted = labels[labels >= 0]
    share = float(weights[counted].sum()) / max(len(counted), 1)
    gradient *= gradient.dtype.type(share)
    return value * share, gradient


def r_squared(truth: Array, prediction: Array) -> float:
    """Return 1 - the squared error / that of the mean, averaged over columns, as scikit-learn.

    Of a constant column it is 1 where the prediction is right and 0 where it is not.
    """
    truth, prediction = (a.reshape(len(a), -1) for a in (truth, prediction))
    errors = np.square(truth - prediction).sum(axis=0)
    spread = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    plain = np.where(errors == 0, 1.0, 0.0)
    return float(np.where(spread > 0, 1 - errors / np.where(spread > 0, spread, 1), plain).mean())


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


@cache
def _not_fitted() -> type[InputError]:
    """Return the error of a model that was not fitted: scikit-learn's too, where it is loaded."""
    exceptions = sys.modules.get("sklearn.exceptions")
    if exceptions is None:
        return InputError
    return type("NotFittedError", (InputError, exceptions.NotFittedError), {})


def _remembering(inner: optimizers.Optimizer, kept: dict[str, Any]) -> optimizers.Optimizer:
    """Return the optimizer, starting from ``kept["state"]`` and leaving its last state there."""

    def init(parameters: Any) -> Any:
        return inner.init(parameters) if kept["state"] is None else kept["state"]

    def update(grads: Any, state: Any, parameters: Any, rate: float) -> Any:
        updates, kept["state"] = inner.update(grads, state, parameters, rate)
        return updates, kept["state"]

    return optimizers.Optimizer(init, update)


def classes_config(classes: NDArray[Any]) -> dict[str, Any]:
    """Return classes as JSON values."""
    kind = classes.dtype.str if classes.dtype.kind != "O" else "object"
    return {"classes": classes.tolist(), "classes_dtype": kind}


def classes_of(owner: str, learned: dict[str, Any]) -> NDArray[Any]:
    """Undo `classes_config`, with nothing believed.

    Raises
    ------
    InputError
        If they are no sorted classes of that dtype.
    """
    given, name = learned["classes"], learned["classes_dtype"]
    if not isinstance(given, list) or not isinstance(name, str):
        raise InputError(f"{owner}: config: classes is no list, or has no dtype")
    if not all(isinstance(one, str | int | float) for one in given):
        raise InputError(f"{owner}: config: classes has what is no label")
    dtype = np.dtype(name)
    if dtype.kind not in "biufUO" or dtype.itemsize > 1 << 16:
        raise InputError(f"{owner}: config: classes has dtype {shown(name, 40)}; no labels")
    classes = np.array(given, dtype)
    if classes.tolist() != given or len(classes) < 2 or (classes[1:] <= classes[:-1]).any():
        raise InputError(f"{owner}: config: classes are not two or more in their order")
    return classes
