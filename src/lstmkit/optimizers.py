"""Optimizers as pure pairs of functions, gradient clipping, and learning-rate schedules.

An optimizer is a pair. ``state = init(parameters)`` makes its memory and
``updates, state = update(gradients, state, parameters, learning_rate)`` takes one step: nothing is
changed in place, the caller adds the updates to the parameters. Parameters, gradients and updates
are dicts of arrays with the same names. A state is a flat dict of arrays too, ``"step"`` (how
many updates there were) and one array for each memory and parameter, ``"mean/weight_ih_l0"``, so
that a checkpoint can hold it. Updates and memories have the dtype of their parameter.

A schedule is a function from the position in a run to the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np

from lstmkit.shapes import Array, InputError, positive_integer, real_number

Arrays = Mapping[str, Array]
State = dict[str, Array]
Schedule = Callable[[float], float]
Rule = Callable[..., tuple[Array, ...]]
"""(step, rate, gradient, parameter, *memories) -> (update, *memories), all for one parameter."""


class Optimizer(NamedTuple):
    """A pair of pure functions that together are one optimization method.

    Attributes
    ----------
    init : (parameters) -> state
        The state before the first step. Raises `InputError` where there are no parameters or one
        is not an array of floats.
    update : (gradients, state, parameters, learning_rate) -> (updates, state)
        One step. Raises `InputError` unless gradients, state and parameters have the same names and
        shapes and the learning rate is a finite number of at least 0.

    Examples
    --------
    >>> parameters = {"w": np.array([1.0, 2.0])}
    >>> optimizer = sgd()
    >>> state = optimizer.init(parameters)
    >>> updates, state = optimizer.update({"w": np.array([1.0, -1.0])}, state, parameters, 0.1)
    >>> for name, change in updates.items():
    ...     parameters[name] += change
    >>> parameters["w"]
    array([0.9, 2.1])
    """

    init: Callable[[Arrays], State]
    update: Callable[[Arrays, State, Arrays, float], tuple[dict[str, Array], State]]


def sgd(momentum: float = 0.0, nesterov: bool = False) -> Optimizer:
    """Stochastic gradient descent, with classical or Nesterov momentum.

    ::

        v ← momentum · v - rate · g
        p ← p + v                                    or, nesterov:  p ← p + momentum · v - rate · g

    Sutskever et al. 2013, equations 1 and 2; Nesterov's in the form of Bengio et al. 2013
    (section 3.5), where the parameters kept are the ones at which the gradient is taken. As in
    Keras the rate is inside the velocity. PyTorch has it outside (v ← momentum · v + g,
    p ← p - rate · v), which differs as soon as the rate changes.

    Parameters
    ----------
    momentum
        At least 0 and below 1. With 0 the state holds no velocity.
    nesterov
        Look ahead along the velocity; needs a momentum above 0.
    """
    momentum = real_number("sgd", "momentum", momentum, 0, 1, "high")
    if nesterov and not momentum:
        raise InputError("sgd: nesterov is True with momentum 0; expected a momentum above 0")

    def plain(step: int, rate: float, g: Array, p: Array) -> tuple[Array, ...]:
        return (g * -rate,)

    def with_momentum(step: int, rate: float, g: Array, p: Array, v: Array) -> tuple[Array, ...]:
        change = g * -rate
        v = v * momentum
        v += change
        if not nesterov:
            return v.copy(), v
        change += momentum * v
        return change, v

    return _pair("sgd", with_momentum, "velocity") if momentum else _pair("sgd", plain)


def rmsprop(decay: float = 0.9, epsilon: float = 1e-8) -> Optimizer:
    """RMSprop: each gradient divided by a running root mean square of itself.

    ::

        s ← decay · s + (1 - decay) · g²
        p ← p - rate · g / (√s + epsilon)

    Tieleman and Hinton 2012, lecture 6.5 (which has no epsilon). PyTorch's decay ("alpha") is
    0.99 by default; Keras adds its epsilon, 1e-7, inside the root.

    Parameters
    ----------
    decay
        At least 0 and below 1.
    epsilon
        Above 0; against a division by zero.
    """
    decay = real_number("rmsprop", "decay", decay, 0, 1, "high")
    epsilon = real_number("rmsprop", "epsilon", epsilon, 0, open_ends="low")

    def rule(step: int, rate: float, g: Array, p: Array, s: Array) -> tuple[Array, ...]:
        squared = np.square(g)
        s = _average(s, squared, decay, out=squared)
        return _divided(g, s, epsilon, rate), s

    return _pair("rmsprop", rule, "square")


def adagrad(epsilon: float = 1e-10) -> Optimizer:
    """Adagrad: each gradient divided by the root of the sum of all its squares so far.

    ::

        s ← s + g²
        p ← p - rate · g / (√s + epsilon)

    Duchi et al. 2011, figure 1, with δ = epsilon. The sum starts at 0, as in the paper and PyTorch;
    in Keras it starts at 0.1, and an epsilon of 1e-7 stands inside the root.

    Parameters
    ----------
    epsilon
        Above 0; against a division by zero.
    """
    epsilon = real_number("adagrad", "epsilon", epsilon, 0, open_ends="low")

    def rule(step: int, rate: float, g: Array, p: Array, s: Array) -> tuple[Array, ...]:
        squared = np.square(g)
        squared += s
        return _divided(g, squared, epsilon, rate), squared

    return _pair("adagrad", rule, "square")


def adam(beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> Optimizer:
    """Adam: a running mean of the gradient over the root of a running mean of its square.

    ::

        m ← beta1 · m + (1 - beta1) · g              s ← beta2 · s + (1 - beta2) · g²
        p ← p - rate · m̂ / (√ŝ + epsilon)            m̂ = m / (1 - beta1ᵗ),  ŝ = s / (1 - beta2ᵗ)

    Kingma and Ba 2015, algorithm 1, with t = 1 at the first step; the same as PyTorch's. Keras
    adds its epsilon, 1e-7, to the root of s before the correction ("epsilon hat" in the paper's
    section 2), which is a larger one in the first steps.

    Parameters
    ----------
    beta1, beta2
        At least 0 and below 1.
    epsilon
        Above 0.
    """
    return _adam("adam", beta1, beta2, epsilon, 0.0)


def adamw(
    beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, weight_decay: float = 0.01
) -> Optimizer:
    """Adam with decoupled weight decay: the step of `adam`, and p ← p - rate · weight_decay · p.

    Loshchilov and Hutter 2019, algorithm 2, with the decay multiplied by the learning rate as in
    PyTorch and Keras; in the paper it is multiplied by the schedule's factor alone. Every parameter
    decays, biases too, as in PyTorch. Keras's default decay is 0.004.

    Parameters
    ----------
    beta1, beta2, epsilon
        As for `adam`.
    weight_decay
        At least 0.
    """
    weight_decay = real_number("adamw", "weight_decay", weight_decay, 0)
    return _adam("adamw", beta1, beta2, epsilon, weight_decay)


def global_norm(grads: Arrays) -> float:
    """Return the root of the sum of all squares in all arrays, summed in float64.

    >>> global_norm({"a": np.array([3.0]), "b": np.array([[0.0, 4.0]])})
    5.0
    """
    return math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in grads.values()))


def clip_by_global_norm(grads: Arrays, limit: float) -> tuple[dict[str, Array], float]:
    """Scale all gradients by one factor so that their global norm is at most the limit.

    Pascanu et al. 2013, algorithm 1, over all arrays together. The factor is limit / norm exactly;
    PyTorch divides by norm + 1e-6.

    Parameters
    ----------
    grads : dict of arrays
    limit
        The largest norm allowed, above 0.

    Returns
    -------
    grads : dict of arrays
        The given arrays where nothing had to be scaled, else new ones of the same dtypes.
    norm : float
        The norm before clipping. If it is nan or inf the gradients come back as they were.

    Raises
    ------
    InputError
        If the limit is not a number above 0.

    Examples
    --------
    >>> clip_by_global_norm({"a": np.array([3.0, 4.0])}, 1.0)
    ({'a': array([0.6, 0.8])}, 5.0)
    """
    limit = real_number("clip_by_global_norm", "limit", limit, 0, open_ends="low")
    norm = global_norm(grads)
    if norm <= limit or not math.isfinite(norm):
        return dict(grads), norm
    factor = limit / norm
    return {k: np.multiply(g, factor, out=np.empty_like(g)) for k, g in grads.items()}, norm


def clip_by_value(grads: Arrays, limit: float) -> dict[str, Array]:
    """Bound every element of every gradient to ±limit; nan stays nan.

    Raises `InputError` if the limit is not a number above 0.

    >>> clip_by_value({"a": np.array([-3.0, 0.5])}, 1.0)
    {'a': array([-1. ,  0.5])}
    """
    limit = real_number("clip_by_value", "limit", limit, 0, open_ends="low")
    return {k: np.clip(g, -limit, limit, out=np.empty_like(g)) for k, g in grads.items()}


def constant(rate: float) -> Schedule:
    """Return the schedule that is ``rate`` everywhere.

    >>> constant(0.1)(1000)
    0.1
    """
    rate = real_number("constant", "rate", rate, 0)
    return lambda position: rate


def step_decay(rate: float, every: float, factor: float) -> Schedule:
    """Return the schedule that is multiplied by ``factor`` at every multiple of ``every``.

    Parameters
    ----------
    rate
        The learning rate at the start, at least 0.
    every
        The length of a stair, above 0, in the unit of the position (steps or seconds).
    factor
        Above 0, at most 1.

    Examples
    --------
    >>> schedule = step_decay(1.0, every=10, factor=0.5)
    >>> [schedule(position) for position in (0, 9, 10, 25)]
    [1.0, 1.0, 0.5, 0.25]
    """
    rate = real_number("step_decay", "rate", rate, 0)
    every = real_number("step_decay", "every", every, 0, open_ends="low")
    factor = real_number("step_decay", "factor", factor, 0, 1, "low")
    return lambda position: rate * factor ** math.floor(position / every)


def cosine(rate: float, total: float, warmup: float = 0.0, floor: float = 0.0) -> Schedule:
    """Return a schedule that rises linearly to ``rate``, then falls to ``floor`` as a half cosine.

    The fall is that of Loshchilov and Hutter 2017 (equation 5), without restarts; the warm-up that
    of Goyal et al. 2017 (section 2.2), here from 0: position 0 has the rate 0.

    Parameters
    ----------
    rate
        The highest learning rate, reached at the end of the warm-up.
    total
        The length of the run, above 0, in steps or seconds: whichever the positions are in.
        From there on the rate is ``floor``.
    warmup
        The length of the warm-up, in the same unit; at least 0 and below ``total``.
    floor
        The lowest rate of the fall, 0 to ``rate``.

    Examples
    --------
    >>> schedule = cosine(1.0, total=30, warmup=10, floor=0.2)
    >>> [round(schedule(position), 3) for position in (0, 5, 10, 20, 30, 40)]
    [0.0, 0.5, 1.0, 0.6, 0.2, 0.2]
    """
    rate = real_number("cosine", "rate", rate, 0)
    total = real_number("cosine", "total", total, 0, open_ends="low")
    warmup = real_number("cosine", "warmup", warmup, 0, total, "high")
    floor = real_number("cosine", "floor", floor, 0, rate)

    def schedule(position: float) -> float:
        if position < warmup:
            return rate * position / warmup
        done = min((position - warmup) / (total - warmup), 1.0)
        return floor + (rate - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return schedule


class Plateau(NamedTuple):
    """A pair of pure functions that lower a scale when a metric stops falling.

    Attributes
    ----------
    init : () -> state
        ``"scale"`` (1 at first; the caller multiplies the schedule's rate by it), ``"best"`` (the
        lowest metric so far) and ``"waited"`` (metrics since then), each an array of shape ().
    update : (state, metric) -> state
        The state after one more metric, of which less is better. nan counts as no gain.
    """

    init: Callable[[], State]
    update: Callable[[State, float], State]


def plateau(
    factor: float = 0.5, patience: int = 3, *, threshold: float = 1e-4, lowest: float = 0.0
) -> Plateau:
    """Multiply the scale by ``factor`` after ``patience`` metrics in a row without a gain.

    As Keras's ReduceLROnPlateau counts; PyTorch's waits for one metric more, and its threshold is
    relative by default.

    Parameters
    ----------
    factor
        Above 0 and below 1.
    patience
        How many metrics without a gain are borne, at least 1.
    threshold
        A metric is a gain where it is below the best by more than this; at least 0, in the
        unit of the metric.
    lowest
        The scale does not go below this, 0 to 1.

    Examples
    --------
    >>> schedule = plateau(factor=0.5, patience=2)
    >>> state = schedule.init()
    >>> for metric in (1.0, 0.9, 0.9, 0.95, 0.8):
    ...     state = schedule.update(state, metric)
    >>> float(state["scale"]), float(state["best"]), int(state["waited"])
    (0.5, 0.8, 0)
    """
    factor = real_number("plateau", "factor", factor, 0, 1, "low high")
    patience = positive_integer("plateau", "patience", patience)
    threshold = real_number("plateau", "threshold", threshold, 0)
    lowest = real_number("plateau", "lowest", lowest, 0, 1)

    def state_of(scale: float, best: float, waited: int) -> State:
        return {
            "scale": np.array(scale, np.float64),
            "best": np.array(best, np.float64),
            "waited": np.array(waited, np.int64),
        }

    def update(state: State, metric: float) -> State:
        scale, best, waited = float(state["scale"]), float(state["best"]), int(state["waited"])
        if metric < best - threshold:
            return state_of(scale, metric, 0)
        if waited + 1 < patience:
            return state_of(scale, best, waited + 1)
        return state_of(max(scale * factor, lowest), best, 0)

    return Plateau(lambda: state_of(1.0, math.inf, 0), update)


def _adam(owner: str, beta1: float, beta2: float, epsilon: float, weight_decay: float) -> Optimizer:
    """Return Adam, with decoupled weight decay."""
    beta1 = real_number(owner, "beta1", beta1, 0, 1, "high")
    beta2 = real_number(owner, "beta2", beta2, 0, 1, "high")
    epsilon = real_number(owner, "epsilon", epsilon, 0, open_ends="low")

    def rule(step: int, rate: float, g: Array, p: Array, m: Array, s: Array) -> tuple[Array, ...]:
        m = _average(m, g, beta1)
        squared = np.square(g)
        s = _average(s, squared, beta2, out=squared)
        # rate · m̂ / (√ŝ + ε), with both corrections taken out of the arrays
        root = math.sqrt(1 - beta2**step)
        update = _divided(m, s, epsilon * root, rate * root / (1 - beta1**step))
        if weight_decay:
            update -= (rate * weight_decay) * p
        return update, m, s

    return _pair(owner, rule, "mean", "square")


def _average(old: Array, value: Array, decay: float, out: Array | None = None) -> Array:
    """Return decay · old + (1 - decay) · value, in ``out`` or a new array.

    As old + (1 - decay) · (value - old), which needs no second array and leaves the average of
    equal values exactly as it is.
    """
    mean: Array = np.subtract(value, old, out=out)
    mean *= 1 - decay
    mean += old
    return mean


def _divided(g: Array, square: Array, epsilon: float, rate: float) -> Array:
    """Return -rate · g / (√square + epsilon) in a new array."""
    out: Array = np.sqrt(square)
    out += epsilon
    np.divide(g, out, out=out)
    out *= -rate
    return out


def _pair(owner: str, rule: Rule, *memories: str) -> Optimizer:
    """Make an optimizer of a rule for one array: names, shapes, dtypes and the step are here."""

    def init(parameters: Arrays) -> State:
        if not parameters:
            raise InputError(f"{owner}: parameters is empty; expected at least one array")
        state = {"step": np.zeros((), np.int64)}
        for name, p in parameters.items():
            if not (isinstance(p, np.ndarray) and p.dtype.kind == "f"):
                what = getattr(p, "dtype", type(p).__name__)
                raise InputError(
                    f"{owner}: parameters[{name!r}] is of {what}; expected an array of floats"
                )
            state.update({f"{memory}/{name}": np.zeros_like(p) for memory in memories})
        return state

    def update(
        grads: Arrays, state: State, parameters: Arrays, learning_rate: float
    ) -> tuple[dict[str, Array], State]:
        rate = real_number(owner, "learning_rate", learning_rate, 0)
        names = {"step", *(f"{memory}/{name}" for memory in memories for name in parameters)}
        _check_names(
            owner, "grads", grads, parameters.keys(), "one gradient for each parameter, no other"
        )
        _check_names(owner, "state", state, names, f"the state of {owner} for these parameters")
        step = int(state["step"]) + 1
        updates: dict[str, Array] = {}
        new_state: State = {"step": np.array(step, np.int64)}
        for name, p in parameters.items():
            arrays = [grads[name], *(state[f"{memory}/{name}"] for memory in memories)]
            for k, array in enumerate(arrays):
                if array.shape != p.shape:
                    what = f"state {memories[k - 1]}" if k else "grads"
                    raise InputError(
                        f"{owner}: {what}[{name!r}] has shape {array.shape}; expected {p.shape}"
                    )
                # One dtype, and no 0-d arrays: with scalars older NumPy turns float32 into float64.
                if array.dtype != p.dtype or not array.ndim:
                    arrays[k] = np.atleast_1d(array.astype(p.dtype, copy=False))
            results = rule(step, rate, arrays[0], p if p.ndim else np.atleast_1d(p), *arrays[1:])
            if not p.ndim:
                results = tuple(array.reshape(()) for array in results)
            updates[name] = results[0]
            for memory, array in zip(memories, results[1:], strict=True):
                new_state[f"{memory}/{name}"] = array
        return updates, new_state

    return Optimizer(init, update)


def _check_names(owner: str, what: str, got: Arrays, wanted: Collection[str], rule: str) -> None:
    """Raise unless the names are the wanted ones, in whatever order."""
    if got.keys() == wanted:
        return
    for name in wanted:
        if name not in got:
            raise InputError(f"{owner}: {what} has no {name!r}; expected {rule}")
    for name in got:
        if name not in wanted:
            raise InputError(f"{owner}: {what} has {name!r}; expected {rule}")
