"""scikit-learn's conventions for a model's arguments, without scikit-learn.

``__init__`` only stores, ``fit`` checks, what is learned ends in ``_``; so ``clone``, pipelines and
``GridSearchCV`` work. Nothing is inherited from scikit-learn, which need not be installed.
"""

from __future__ import annotations

import inspect
import sys
from functools import cache
from typing import Any

import numpy as np

from lstmkit.shapes import InputError, positive_integer, shown


class Parameters:
    """The base of a model whose arguments scikit-learn's tools can read and change."""

    random_state: Any

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

    def _seed(self) -> int | None:
        """Return ``random_state`` as a seed: of a generator, the next number that it draws."""
        state = self.random_state
        if state is None:
            return None
        if isinstance(state, np.random.RandomState):
            return int(state.randint(2**31 - 1))
        if isinstance(state, np.random.Generator):
            return int(state.integers(2**31 - 1))
        return positive_integer(self._owner, "random_state", state, least=0)


def not_fitted() -> type[InputError]:
    """Return the error of a model that was not fitted: scikit-learn's too, where it is loaded."""
    exceptions = sys.modules.get("sklearn.exceptions")
    return InputError if exceptions is None else _both(exceptions.NotFittedError)


@cache
def _both(kind: type[Exception]) -> type[InputError]:
    return type("NotFittedError", (InputError, kind), {})
