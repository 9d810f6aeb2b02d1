from __future__ import annotations

import numpy as np
import pytest

from lstmkit.sampling import choose
from lstmkit.shapes import InputError

P = np.array([0.1, 0.4, 0.05, 0.3, 0.15])
LOGITS = np.log(P) + 3.0


class Grid:
    """Stands in for a generator: gives every number on a fine grid once."""

    def __init__(self, points: int) -> None:
        self.numbers = iter((np.arange(points) + 0.5) / points)

    def random(self) -> float:
        return float(next(self.numbers))


def distribution(logits, points=2000, **cuts) -> np.ndarray:
    """The probabilities that `choose` gives each token, exact to one in the number of points."""
    grid = Grid(points)
    drawn = [choose(np.asarray(logits), grid, **cuts) for _ in range(points)]
    return np.bincount(drawn, minlength=len(logits)) / points


def cut(*kept: int) -> np.ndarray:
    p = np.zeros(5)
    p[list(kept)] = P[list(kept)]
    return p / p.sum()


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_the_temperature_divides_the_logits(temperature):
    expected = P ** (1 / temperature)
    np.testing.assert_allclose(
        distribution(LOGITS, temperature=temperature), expected / expected.sum(), atol=1e-3
    )


@pytest.mark.parametrize(("k", "kept"), [(1, [1]), (2, [1, 3]), (4, [1, 3, 4, 0]), (99, range(5))])
def test_top_k_keeps_the_k_likeliest(k, kept):
    np.testing.assert_allclose(distribution(LOGITS, top_k=k), cut(*kept), atol=1e-3)


def test_top_k_keeps_exactly_k_of_equal_tokens():
    np.testing.assert_allclose(distribution([0.0] * 5, top_k=2), [0.5, 0.5, 0, 0, 0], atol=1e-3)


@pytest.mark.parametrize(
    ("p", "kept"),
    [  # the sums are 0.4, 0.7, 0.85, 0.95, 1
        (0.01, [1]),
        (0.399, [1]),
        (0.401, [1, 3]),
        (0.699, [1, 3]),
        (0.701, [1, 3, 4]),
        (0.949, [1, 3, 4, 0]),
        (1.0, range(5)),
    ],
)
def test_top_p_keeps_the_fewest_tokens_that_reach_p(p, kept):
    np.testing.assert_allclose(distribution(LOGITS, top_p=p), cut(*kept), atol=1e-3)


def test_top_p_exactly_reached_needs_no_further_token():
    logits = np.log(np.array([0.5, 0.25, 0.25]))
    np.testing.assert_allclose(distribution(logits, top_p=0.5), [1, 0, 0])


def test_top_p_comes_after_top_k_and_the_temperature():
    # Of the three likeliest, 0.4, 0.3 and 0.15, the first has 0.47.
    np.testing.assert_allclose(distribution(LOGITS, top_k=3, top_p=0.46), cut(1), atol=1e-3)
    np.testing.assert_allclose(distribution(LOGITS, top_k=3, top_p=0.48), cut(1, 3), atol=1e-3)
    # At temperature 1/2 the squares count: the likeliest then has 0.57 of all.
    cold = distribution(LOGITS, temperature=0.5, top_p=0.56)
    np.testing.assert_allclose(cold, cut(1), atol=1e-3)


def test_temperature_0_is_the_likeliest_and_draws_nothing():
    assert choose(LOGITS, None, temperature=0) == 1
    assert choose(np.array([1.0, 2.0, 2.0]), None, temperature=0) == 1


@pytest.mark.parametrize("temperature", [1e-3, 1e-300, 5e-324])
def test_a_tiny_temperature_is_nearly_0_without_a_warning(temperature):
    assert choose(LOGITS, Grid(1), temperature=temperature) == 1
    assert choose(LOGITS.astype(np.float32) * 1e30, Grid(1), temperature=temperature) == 1


def test_a_token_of_probability_0_is_never_drawn():
    logits = np.array([-np.inf, 0.0, -np.inf, 0.0, -np.inf])

    class Ends:
        def __init__(self, number):
            self.random = lambda: number

    assert choose(logits, Ends(0.0)) == 1
    assert choose(logits, Ends(0.5)) == 3  # a draw from [0, 1) is at or past the first half
    assert choose(logits, Ends(np.nextafter(1.0, 0.0))) == 3


@pytest.mark.parametrize("bad", [[0, np.nan], [np.nan, 0], [np.inf, 0], [-np.inf, -np.inf]])
@pytest.mark.parametrize("temperature", [0, 1])
def test_broken_weights_are_told(bad, temperature):
    with pytest.raises(InputError, match="sampling: logits have nan or inf"):
        choose(np.array(bad, np.float32), np.random.default_rng(0), temperature)
