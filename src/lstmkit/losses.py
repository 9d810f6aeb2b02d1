"""Losses, each as one function that returns the value and its gradient together.

``value, gradient = loss(prediction, target)``: the value is a Python float, the mean over the
elements that count, and the gradient with respect to the prediction has the prediction's shape and
dtype. Which elements count is said by ``ignore`` (class targets) or ``mask`` (all others); what
stands in the others, nan included, has no influence and gets a gradient of exactly 0. Where nothing
counts the value is 0.

The elementwise work is done in the prediction's dtype, the final sum in float64. A prediction
that holds nan or inf gives a value that is nan or inf, without a warning: who trains checks it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lstmkit.shapes import (
    Array,
    InputError,
    boolean_array,
    integer_array,
    real_array,
    real_number,
)


def cross_entropy(
    logits: Array, targets: ArrayLike, *, ignore: int = -1, weights: ArrayLike | None = None
) -> tuple[float, Array]:
    r"""Cross-entropy between a softmax of logits and class targets, in nats.

    With V classes, logits z, target k and class weights w,

    .. math:: -\sum w_k \ln p_k \,/ \sum w_k, \qquad p = \mathrm{softmax}(z), \qquad
              \partial / \partial z_v = w_k (p_v - [v = k]) \,/ \sum w_k,

    summed over the targets that count (Bishop 2006, equations 4.108 and 4.109). The largest logit
    of each row is subtracted first, so that logits of any finite size are safe.

    Parameters
    ----------
    logits : array (..., V)
        Scores before the softmax. A score of -inf gives its class a probability of 0.
    targets : integers (...)
        The right class of each row, 0 to V - 1, or ``ignore``.
    ignore
        Rows with this target do not count. PyTorch's default is -100.
    weights : (V,), optional
        A weight for each class, 0 or more; by default all are 1. The mean is weighted: it is
        divided by the sum of the weights, as PyTorch does; Keras divides by the number of rows.

    Returns
    -------
    value : float
        0.0 where no target counts (PyTorch gives nan).
    gradient : array (..., V), of the dtype of logits

    Raises
    ------
    InputError
        If the shapes differ, a target is no class, or a weight is negative or not finite.

    Examples
    --------
    >>> value, gradient = cross_entropy(np.zeros((2, 4)), [3, -1])
    >>> round(value / math.log(2), 6)  # a blind guess among four classes: two bits
    2.0
    >>> gradient
    array([[ 0.25,  0.25,  0.25, -0.75],
           [ 0.  ,  0.  ,  0.  ,  0.  ]])
    """
    logits = _prediction("cross_entropy", "logits", logits)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise InputError(
            f"cross_entropy: logits has shape {logits.shape}; expected (..., classes), at least "
            "one class"
        )
    classes = logits.shape[-1]
    labels = integer_array("cross_entropy", "targets", targets, logits.shape[:-1])
    counted = np.asarray(labels != ignore)
    known = np.where(counted, labels, 0)
    integer_array("cross_entropy", "targets", known, labels.shape, 0, classes - 1)
    if weights is not None:
        weight = _class_weights(weights, classes)[known]
        counted &= weight > 0

    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        everything = bool(counted.all())
        if everything:
            p = np.subtract(logits, logits.max(axis=-1, keepdims=True))
        else:  # only the rows that count: the others cost nothing and spoil nothing
            p, labels = logits[counted], labels[counted]
            p -= p.max(axis=-1, keepdims=True)
        own = (*np.indices(labels.shape, sparse=True), labels)  # each row's element of its target
        score = p[own]
        np.exp(p, out=p)
        total = p.sum(axis=-1)
        nats = np.log(total) - score
        if weights is None:
            share: Any = _inverse(labels.size)
            value = float(nats.sum(dtype=np.float64)) * share
        else:
            weight = weight if everything else weight[counted]
            weight = weight * _inverse(float(weight.sum()))
            share = weight.astype(p.dtype)
            value = float(np.multiply(nats, weight).sum())
        p *= (share / total)[..., None]
        p[own] -= share

    if everything:
        return value, p
    gradient = np.zeros_like(logits)
    gradient[counted] = p
    return value, gradient


def mean_squared_error(
    prediction: Array, target: ArrayLike, *, mask: ArrayLike | None = None
) -> tuple[float, Array]:
    """Mean of (prediction - target)². Gradient: 2 (prediction - target) / count.

    Parameters
    ----------
    prediction : array, any shape
    target : array of the same shape
        Another shape is refused, not broadcast: (N,) against (N, 1) would silently be (N, N).
    mask : booleans, optional
        True where an element counts. Its shape is that of the leading axes of the prediction:
        (N, T) for a prediction (N, T, F) counts whole steps.

    Returns
    -------
    value : float
        0.0 where nothing counts.
    gradient : array, of the shape and dtype of the prediction

    Raises
    ------
    InputError
        If the shapes differ or the mask is not boolean.

    Examples
    --------
    >>> mean_squared_error(np.array([1.0, 5.0]), [3.0, 5.0])
    (2.0, array([-2.,  0.]))
    >>> mean_squared_error(np.array([1.0, 5.0]), [3.0, np.nan], mask=[True, False])
    (4.0, array([-4.,  0.]))
    """
    difference, share = _difference("mean_squared_error", prediction, target, mask)
    with np.errstate(over="ignore", under="ignore"):
        value = float(np.square(difference).sum(dtype=np.float64)) * share
        difference *= 2 * share
    return value, difference


def mean_absolute_error(
    prediction: Array, target: ArrayLike, *, mask: ArrayLike | None = None
) -> tuple[float, Array]:
    """Mean of ``|prediction - target|``. Gradient: sign(prediction - target) / count.

    At the kink, where prediction and target are equal, the subgradient taken is 0.
    Parameters, returns and errors are those of `mean_squared_error`.

    Examples
    --------
    >>> mean_absolute_error(np.array([1.0, 5.0]), [3.0, 5.0])
    (1.0, array([-0.5,  0. ]))
    """
    difference, share = _difference("mean_absolute_error", prediction, target, mask)
    value = float(np.abs(difference).sum(dtype=np.float64)) * share
    with np.errstate(invalid="ignore"):
        np.sign(difference, out=difference)
    difference *= share
    return value, difference


def huber(
    prediction: Array, target: ArrayLike, *, delta: float = 1.0, mask: ArrayLike | None = None
) -> tuple[float, Array]:
    """Squared near the target, linear far from it (Huber 1964).

    With d = prediction - target: d²/2 where ``|d| ≤ delta``, else ``delta (|d| - delta/2)``.
    The gradient is d bounded to ±delta, / count; it is continuous, also at ``|d| = delta``.

    Parameters
    ----------
    prediction, target, mask
        As for `mean_squared_error`.
    delta
        Where the two parts meet, in the unit of the target; above 0. As in PyTorch's and Keras's
        Huber loss; PyTorch's ``smooth_l1_loss`` is this, divided by delta.

    Returns
    -------
    value, gradient
        As for `mean_squared_error`.

    Raises
    ------
    InputError
        Also if delta is not above 0.

    Examples
    --------
    >>> huber(np.array([0.5, 3.0]), [0.0, 0.0])
    (1.3125, array([0.25, 0.5 ]))
    """
    delta = real_number("huber", "delta", delta, low=0, open_ends="low")
    difference, share = _difference("huber", prediction, target, mask)
    bounded = np.clip(difference, -delta, delta, out=np.empty_like(difference))
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        difference -= bounded / 2  # bounded · (d - bounded/2) is both parts in one
        difference *= bounded
        value = float(difference.sum(dtype=np.float64)) * share
        bounded *= share
    return value, bounded


def pinball(
    prediction: Array,
    target: ArrayLike,
    *,
    quantiles: Sequence[float],
    mask: ArrayLike | None = None,
) -> tuple[float, Array]:
    """Pinball loss of quantile forecasts (Koenker and Bassett 1978).

    With d = target - prediction, quantile q costs q d where the target lies above the prediction
    and (q - 1) d where it lies below. The gradient is -q / count or (1 - q) / count; at the kink,
    d = 0, the subgradient taken is 0.

    Parameters
    ----------
    prediction : array (..., Q)
        One forecast for each quantile, in the order of ``quantiles``.
    target : array (...)
        One number for all Q forecasts.
    quantiles : (Q,)
        Each above 0 and below 1. The quantile 0.5 gives half the absolute error.
    mask : booleans, optional
        As for `mean_squared_error`, over the leading axes of the target.

    Returns
    -------
    value : float
        The mean over the targets that count and over their Q quantiles.
    gradient : array (..., Q), of the dtype of the prediction

    Raises
    ------
    InputError
        If the shapes differ, the mask is not boolean, or a quantile is not between 0 and 1.

    Examples
    --------
    >>> pinball(np.array([[1.0, 3.0]]), [2.0], quantiles=[0.25, 0.75])
    (0.25, array([[-0.125,  0.125]]))
    """
    levels = [real_number("pinball", "quantiles", q, 0, 1, "low high") for q in quantiles]
    prediction = _prediction("pinball", "prediction", prediction)
    if prediction.ndim == 0 or prediction.shape[-1] != len(levels) or not levels:
        raise InputError(
            f"pinball: prediction has shape {prediction.shape}; expected (..., quantiles="
            f"{len(levels)}), at least one"
        )
    truth = real_array("pinball", "target", target, prediction.shape[:-1], prediction.dtype)
    spread = np.broadcast_to(truth[..., None], prediction.shape)
    if mask is not None and np.ndim(mask) >= prediction.ndim:
        raise InputError(
            f"pinball: mask has shape {np.shape(mask)}; expected at most that of the target "
            f"{truth.shape}"
        )
    excess, share = _difference("pinball", prediction, spread, mask)
    q = np.array(levels, prediction.dtype)
    gradient = np.zeros_like(prediction)
    np.copyto(gradient, 1 - q, where=excess > 0)
    np.copyto(gradient, -q, where=excess < 0)
    excess *= gradient  # the cost is the excess times its slope
    value = float(excess.sum(dtype=np.float64)) * share
    gradient *= share
    return value, gradient


def binary_cross_entropy(
    logits: Array, targets: ArrayLike, *, mask: ArrayLike | None = None
) -> tuple[float, Array]:
    r"""Cross-entropy of yes-or-no targets from logits, in nats.

    .. math:: -y \ln \sigma(z) - (1 - y) \ln(1 - \sigma(z)) = \max(z, 0) - z y + \ln(1 + e^{-|z|})

    The right-hand side is what is computed; it does not overflow. Gradient: (σ(z) - y) / count
    (Bishop 2006, equations 4.90 and 4.91).

    Parameters
    ----------
    logits : array, any shape
        Scores before the sigmoid. (Keras takes probabilities unless ``from_logits`` is set.)
    targets : array of the same shape
        Booleans, or numbers from 0 to 1.
    mask : booleans, optional
        As for `mean_squared_error`.

    Returns
    -------
    value, gradient
        As for `mean_squared_error`.

    Raises
    ------
    InputError
        If the shapes differ, the mask is not boolean or a target is outside 0 to 1.

    Examples
    --------
    >>> value, gradient = binary_cross_entropy(np.array([0.0, 1e4]), [1, 1])
    >>> round(value / math.log(2), 6), gradient
    (0.5, array([-0.25,  0.  ]))
    """
    z = _prediction("binary_cross_entropy", "logits", logits)
    y = real_array("binary_cross_entropy", "targets", targets, z.shape, z.dtype)
    where, share = _counted("binary_cross_entropy", mask, z.shape)
    outside = np.logical_not((y >= 0) & (y <= 1)) & where
    if outside.any():
        place = tuple(int(k) for k in np.argwhere(outside)[0])
        raise InputError(
            f"binary_cross_entropy: targets{list(place) if place else ''} is {y[place]}; "
            "expected 0 to 1"
        )
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        # In place, as new arrays cost more than the arithmetic. σ(z) = 1/(1 + s) for z ≥ 0 and
        # s/(1 + s) below, with s = exp(-|z|).
        gradient = np.abs(z, out=np.empty_like(z))
        np.negative(gradient, out=gradient)
        np.exp(gradient, out=gradient)
        nats = np.add(gradient, 1, out=np.empty_like(z))
        np.copyto(gradient, 1, where=z >= 0)
        gradient /= nats
        gradient -= y
        np.log(nats, out=nats)
        part = np.maximum(z, 0, out=np.empty_like(z))
        nats += part
        nats -= np.multiply(z, y, out=part)
        value = float(np.sum(nats, where=where, dtype=np.float64)) * share
        gradient *= share
    if mask is not None:
        np.copyto(gradient, 0, where=~where)
    return value, gradient


def _prediction(owner: str, name: str, value: Array) -> Array:
    """Return the prediction as an array of floats, of the shape that it has."""
    array = np.asarray(value)
    return real_array(owner, name, array, array.shape)


def _inverse(count: float) -> float:
    """Return what each counted element contributes to the mean: 1/count, 0 where none counts."""
    return 1 / count if count else 0.0


def _counted(owner: str, mask: ArrayLike | None, shape: tuple[int, ...]) -> tuple[Any, float]:
    """Return which elements count, in a form that broadcasts to the shape, and 1/their number."""
    if mask is None:
        return True, _inverse(math.prod(shape))
    rank = np.ndim(mask)
    flags = boolean_array(owner, "mask", mask, shape[:rank])
    count = int(np.count_nonzero(flags)) * math.prod(shape[rank:])
    return flags.reshape(flags.shape + (1,) * (len(shape) - rank)), _inverse(count)


def _difference(
    owner: str, prediction: Array, target: ArrayLike, mask: ArrayLike | None
) -> tuple[Array, float]:
    """Return prediction - target as a new array, 0 where masked, and 1/the number that count."""
    prediction = _prediction(owner, "prediction", prediction)
    target = real_array(owner, "target", target, prediction.shape, prediction.dtype)
    where, share = _counted(owner, mask, prediction.shape)
    difference = np.zeros_like(prediction)
    with np.errstate(invalid="ignore", over="ignore"):
        np.subtract(prediction, target, out=difference, where=where)
    return difference, share


def _class_weights(weights: ArrayLike, classes: int) -> Array:
    """Return the class weights in float64, all finite and 0 or more."""
    array = real_array("cross_entropy", "weights", weights, (("classes", classes),), np.float64)
    wrong = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if wrong.size:
        raise InputError(
            f"cross_entropy: weights[{wrong[0]}] is {array[wrong[0]]}; expected at least 0, finite"
        )
    return array
