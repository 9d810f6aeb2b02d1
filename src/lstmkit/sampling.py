"""From logits to one of the tokens: temperature, top-k and nucleus sampling."""

from __future__ import annotations

import numpy as np

from lstmkit.shapes import Array, InputError


def choose(
    logits: Array,
    rng: np.random.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> int:
    """Draw a token with probability softmax(logits / temperature), cut off by top-k and top-p.

    Parameters
    ----------
    logits : array (V,)
        A score for each token. Of equal ones the lower token is taken for the likelier.
    rng
        Gives one number a call; none at temperature 0.
    temperature : float
        At least 0; at 0 the likeliest token is returned.
    top_k : int, optional
        Keep the k likeliest tokens, exactly k even where scores are equal.
    top_p : float, optional
        Of those, keep the fewest likeliest whose probabilities, which sum to 1 over what top-k
        kept, reach this sum (Holtzman et al. 2020, section 3.1); one at the least.

    Raises
    ------
    InputError
        If a logit is nan or the largest one is infinite.
    """
    order = np.argsort(-logits, kind="stable")
    if not (np.isfinite(logits[order[0]]) and logits[order[-1]] <= logits[order[0]]):
        raise InputError("sampling: logits have nan or inf; expected a model with finite weights")
    if temperature == 0:
        return int(order[0])
    order = order[:top_k]
    likeliest = logits[order].astype(np.float64)
    with np.errstate(over="ignore"):  # at a tiny temperature: -inf, whose probability is 0
        p = np.exp((likeliest - likeliest[0]) / temperature)
    reached = np.cumsum(p)
    if top_p is not None:
        reached = reached[: int(np.searchsorted(reached, top_p * reached[-1])) + 1]
    # The draw is below reached[-1], so that a place is found, and one of probability above 0.
    return int(order[np.searchsorted(reached, rng.random() * reached[-1], side="right")])
