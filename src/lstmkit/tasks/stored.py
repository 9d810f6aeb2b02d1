"""An estimator as a file: its arguments, what it learned, and its weights; and back again.

What a file says is believed in nothing: shapes are compared before anything is made of them.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from lstmkit import store
from lstmkit.layers import LSTM, Linear
from lstmkit.shapes import Array, InputError, floating_dtype, positive_integer, shown
from lstmkit.tasks.fitted import Fitted
from lstmkit.tasks.network import Network
from lstmkit.tasks.scaling import Scaling

_LEARNED = ("features", "columns", "names", "center", "scale", "mean")


class Stored(Fitted):
    """A fitted estimator that can be written and read."""

    # ------------------------------ what a kind of estimator says of itself

    def _learned(self) -> dict[str, Any]:
        """Return what a file says beside the arguments, in JSON values."""
        return {}

    def _restore(self, learned: dict[str, Any]) -> None:
        """Undo `_learned`."""

    def _check(self, options: dict[str, Any]) -> None:
        """Look at the parameters, and at the names of the options."""
        raise NotImplementedError

    # ------------------------------ values

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

    # ------------------------------ files

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
        model._note()
        model.n_features_in_ = count
        if feature_names is not None:
            model.feature_names_in_ = np.array(feature_names, dtype=object)
        return model

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one safetensors file; ``lk.load(path)`` reads it."""
        store.save(path, self._owner, self.config, self.parameters)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
