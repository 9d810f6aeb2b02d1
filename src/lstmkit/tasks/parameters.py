"""scikit-learn's conventions for parameters, without scikit-learn.

``__init__`` only stores, ``fit`` checks, what is learned ends in ``_``. Its tags and its
NotFittedError are made when it asks for them.
"""

from __future__ import annotations

import inspect
import sys
from functools import cache
from importlib import import_module
from typing import Any

from lstmkit.shapes import InputError, shown


class Parameters:
    """Arguments of ``__init__`` by name; a subclass names them all in its own signature."""

    missing: str

    _steps = False  # whether every step has a prediction
    _type: str | None = None  # scikit-learn's word for it

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
            raise _not_fitted()(
                f"{self._owner}: the model knows nothing yet; call fit or lk.load first"
            )
        return self


def _not_fitted() -> type[InputError]:
    """Return the error of a model that was not fitted: scikit-learn's too, where it is loaded."""
    exceptions = sys.modules.get("sklearn.exceptions")
    return InputError if exceptions is None else _both(exceptions.NotFittedError)


@cache
def _both(kind: type[Exception]) -> type[InputError]:
    return type("NotFittedError", (InputError, kind), {})
