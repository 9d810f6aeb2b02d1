"""What the adapters to other libraries share: the parameters of the estimator inside."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

# The other libraries' estimators have methods of these names.
_RENAMED = {"transform": "target_transform"}


def constructor(
    estimator: type, leave_out: tuple[str, ...] = (), **defaults: Any
) -> Callable[..., None]:
    """Make an ``__init__`` with the parameters of ``estimator``, so that they stand in one place.

    It stores what it is given, as scikit-learn's conventions have it, and then calls the method
    ``_begin``, in which the class begins its base of the other library. ``transform``, which is a
    method of those, is called ``target_transform``.

    Parameters
    ----------
    estimator : type
        Whose parameters, and whose defaults.
    leave_out : tuple of str
        Parameters that the other library decides.
    **defaults
        Other defaults than the estimator's own.

    Examples
    --------
    >>> class Net:
    ...     def __init__(self, hidden_size=64, *, seed=None): ...
    >>> class Adapted:
    ...     __init__ = constructor(Net, hidden_size=8)
    ...
    ...     def _begin(self): ...
    >>> Adapted(seed=1).hidden_size
    8
    """
    chosen = [
        parameter.replace(
            name=_RENAMED.get(name, name), default=defaults.get(name, parameter.default)
        )
        for name, parameter in inspect.signature(estimator).parameters.items()
        if name not in leave_out
    ]
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.Signature([this, *chosen])

    def __init__(self: Any, *args: Any, **options: Any) -> None:
        given = signature.bind(self, *args, **options)
        given.apply_defaults()
        for name in list(given.arguments)[1:]:
            setattr(self, name, given.arguments[name])
        self._begin()

    vars(__init__)["__signature__"] = signature
    return __init__


def made(estimator: type, adapter: Any, **given: Any) -> Any:
    """Make the estimator inside: the adapter's parameters, and those given here instead."""
    given = {**adapter.get_params(deep=False), **given}
    for ours, theirs in _RENAMED.items():
        if theirs in given:
            given[ours] = given.pop(theirs)
    return estimator(**given)
