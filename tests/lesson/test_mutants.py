"""The reference with nothing switched is the textbook; every mistake is another function."""

from __future__ import annotations

import numpy as np
import pytest

from lstmkit.conventions import to_textbook
from lstmkit.lesson import cases
from lstmkit.lesson.backward import BACKWARD, SEQUENCE_BACK, STEP_BACK, backward, complex_step
from lstmkit.lesson.mutants import (
    GATES,
    REFERENCE,
    SEQUENCE,
    STEP,
    one_of_two_biases,
    pairs,
    sequence,
    step,
)
from lstmkit.textbook import lstm_backward, lstm_cell_step, lstm_forward

EVERY_STEP = (*cases.steps(), cases.far_out())


def textbook(case):
    return to_textbook(case.ours)


@pytest.mark.parametrize("case", EVERY_STEP, ids=lambda case: case.name)
def test_the_reference_is_the_textbook(case):
    want = lstm_cell_step(case.X[0], case.h, case.c, textbook(case))
    got = step(case.weights, case.X[0], case.h, case.c, REFERENCE)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    want = lstm_forward(case.X, case.h, case.c, textbook(case))
    got = sequence(case.weights, case.X, case.h, case.c, REFERENCE)
    np.testing.assert_allclose(got, want, rtol=1e-11)


def test_no_case_can_be_passed_by_luck():
    for case in (*cases.steps(), *cases.sequences()):
        w = case.weights
        for part in (w.x, w.h, w.b):
            assert len({part[gate].tobytes() for gate in GATES}) == 4
        assert case.X.shape[1] != len(case.h)
        for array in (case.h, case.c, *w.b.values()):
            assert np.abs(array).min() > 0
    assert {len(case.X) for case in cases.sequences()} >= {1, 6}
    far = cases.far_out()
    signs = {tuple(np.sign(far.weights.b[gate][unit]) for gate in GATES) for unit in range(16)}
    assert len(signs) == 16
    assert all(np.abs(array).min() == 1000 for array in far.weights.b.values())


def test_every_mistake_changes_the_result_and_no_two_are_alike():
    case = cases.steps()[0]
    right = np.concatenate(step(case.weights, case.X[0], case.h, case.c, REFERENCE))
    seen = {}
    for mistake in STEP:
        switches = {**REFERENCE, **mistake.switches}
        wrong = np.concatenate(step(case.weights, case.X[0], case.h, case.c, switches))
        assert np.abs(wrong - right).max() > 1e-4, mistake.name
        key = wrong.round(9).tobytes()
        assert key not in seen, (mistake.name, seen.get(key))
        seen[key] = mistake.name
    case = cases.sequences()[0]
    for mistake in SEQUENCE:
        switches = {**REFERENCE, **mistake.switches}
        wrong = np.array(sequence(case.weights, case.X, case.h, case.c, switches))
        key = wrong.round(9).tobytes()
        assert key not in seen, (mistake.name, seen.get(key))
        seen[key] = mistake.name
    case = cases.steps()[0]
    for mistake in one_of_two_biases():
        switches = {**REFERENCE, **mistake.switches}
        wrong = np.concatenate(step(case.weights, case.X[0], case.h, case.c, switches))
        key = wrong.round(9).tobytes()
        assert key not in seen, (mistake.name, seen.get(key))
        seen[key] = mistake.name
    names = [mistake.name for mistake in (*STEP, *SEQUENCE)]
    assert len(set(names)) == len(names)
    assert len(pairs("step")) > 300
    assert not any(" + " in name for name in names)  # it is what joins the names of a pair


def test_the_truth_of_the_way_back_is_the_textbooks():
    case = cases.sequences()[0]
    truth = complex_step(case.weights, case.X, case.h, case.c, case.dh, case.dc)
    want = lstm_backward(case.X, case.h, case.c, textbook(case), case.dh, case.dc)
    for name, array in zip(("x", "h0", "c0"), want, strict=False):
        np.testing.assert_allclose(truth[name], array, rtol=1e-10, atol=1e-14)
    hidden = len(case.h)
    for gate, letter in zip(GATES, "ifCo", strict=True):
        both = want[3][f"W{letter}"]
        np.testing.assert_allclose(truth[f"Wh.{gate}"], both[:, :hidden], rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(truth[f"Wx.{gate}"], both[:, hidden:], rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(truth[f"b.{gate}"], want[3][f"b{letter}"], rtol=1e-10)


def test_every_mistake_of_the_way_back_is_another():
    case = cases.sequences()[0]
    arguments = (case.weights, case.X, case.h, case.c, case.dh, case.dc)

    def flat(switches):
        found = backward(*arguments, {**BACKWARD, **switches})
        return np.concatenate([found[name].ravel() for name in sorted(found)])

    truth = complex_step(*arguments)
    right = np.concatenate([truth[name].ravel() for name in sorted(truth)])
    np.testing.assert_allclose(flat({}), right, rtol=1e-10, atol=1e-13)
    seen = {}
    for mistake in (*STEP_BACK, *SEQUENCE_BACK):
        wrong = flat(mistake.switches)
        assert np.abs(wrong - right).max() > 1e-4, mistake.name
        key = wrong.round(9).tobytes()
        assert key not in seen, (mistake.name, seen.get(key))
        seen[key] = mistake.name
