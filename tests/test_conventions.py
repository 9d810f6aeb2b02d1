"""Anybody's weights become ours and theirs again, bit for bit; what is open is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lstmkit.conventions import from_textbook, read, to_textbook, write
from lstmkit.naming import SCHEMES, layouts, names_of
from lstmkit.shapes import InputError
from lstmkit.textbook import LSTM


def ours(hidden, inputs, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "weight_ih": rng.normal(size=(4 * hidden, inputs)),
        "weight_hh": rng.normal(size=(4 * hidden, hidden)),
        "bias": rng.normal(size=4 * hidden),
    }


ALL = [layout for scheme in SCHEMES for layout in layouts(scheme)]


def same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        assert got[name].shape == want[name].shape
        assert np.array_equal(got[name], want[name]), name


@pytest.mark.parametrize("vectors", ["flat", "column", "row"])
@pytest.mark.parametrize(("hidden", "inputs"), [(2, 3), (3, 3), (1, 1)])
def test_a_round_trip_is_exact_in_every_layout_of_every_family(vectors, hidden, inputs):
    assert {layout.family for layout in ALL} == set("ABCDEF")
    for layout in ALL:
        convention = replace(layout, vectors=vectors)
        weights = ours(hidden, inputs)
        theirs = write(weights, convention)
        assert set(theirs) == set(names_of(convention))
        back, found = read(theirs, convention)
        assert found is convention
        same(back, weights)
        same(write(back, convention), theirs)


@pytest.mark.parametrize("vectors", ["flat", "column", "row"])
@pytest.mark.parametrize(("hidden", "inputs"), [(4, 3), (2, 8)])
def test_names_and_shapes_tell_all_that_they_can(vectors, hidden, inputs):
    """What has to be said beside them is said: concat, the order of fused gates, where open."""
    for layout in ALL:
        convention = replace(layout, vectors=vectors)
        theirs = write(ours(hidden, inputs), convention)
        back, found = read(theirs, concat=convention.concat, order=convention.order)
        assert found == convention or found.describe() == convention.describe()
        same(back, ours(hidden, inputs))


@pytest.mark.parametrize(
    ("names", "shapes", "message"),
    [
        # I = H: the orientation
        (
            [f"W_{a}{g}" for a in "xh" for g in "ifco"],
            (3, 3),
            'W_xi has shape (3, 3), which fits both ways; expected orientation="Wx" (W·x, one row '
            'a unit) or orientation="xW" (x·W, one column a unit)',
        ),
        # I = H: the roles of family C
        (
            [f"{a}_{g}" for a in "WU" for g in "ifco"],
            (3, 3),
            "W_i and U_i have the shapes (3, 3) and (3, 3), which do not tell which is for x; "
            'expected roles="W=x" (W for x, U for h) or roles="W=h" (W for h, U for x)',
        ),
        # B: the order of h and x
        (
            [f"W_{g}" for g in "ifco"],
            (3, 5),
            "W_i acts on h and x together, in an order that names and shapes do not tell; expected "
            'concat="hx" ([h; x]) or concat="xh" ([x; h])',
        ),
    ],
)
def test_what_shapes_cannot_settle_is_asked_for(names, shapes, message):
    params = {name: np.ones(shapes) for name in names}
    params |= {f"b_{gate}": np.ones(3) for gate in "ifco"}
    with pytest.raises(InputError) as caught:
        read(params)
    assert str(caught.value) == f"conventions: {message}"
    read(params, orientation="xW" if shapes[0] == shapes[1] else None, roles="W=h", concat="xh")


def test_the_order_of_fused_gates_is_asked_for():
    params = {"Wx": np.ones((3, 8)), "Wh": np.ones((2, 8)), "b": np.ones(8)}
    with pytest.raises(InputError, match=r'order="ifgo" \(PyTorch, Keras\) or order="ifog"'):
        read(params)
    read(params, order="ogfi")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Wi": None}, "params lacks Wi"),
        ({"bo": None}, "params lacks bo"),
        ({"Wo": np.ones((4, 8))}, "Wo has shape (4, 8); expected (4, 7)"),
        ({"bo": np.ones(5)}, "bo has shape (5,); expected (4,)"),
        ({"bi": np.ones((4, 4))}, "bi has shape (4, 4); expected (H,), (H, 1) or (1, H)"),
        ({"Wi": np.ones(4)}, "Wi has shape (4,); expected a matrix"),
        ({"Wi": [["a"]]}, "Wi has shape (1, 1); expected (H, H+I), with at least one input"),
        ({"bi": np.array(list("abcd"))}, "bi has dtype <U1; expected real numbers (4,)"),
        ({"Wi": [[1], [1, 2]]}, "Wi is a ragged nested list; expected an array (rows, columns)"),
    ],
)
def test_a_bad_dict_is_one_line(change, message):
    params = {**LSTM(3, 4, seed=0).params, **{f"b{g}": np.ones(4) for g in "fiCo"}, **change}
    params = {name: array for name, array in params.items() if array is not None}
    with pytest.raises(InputError) as caught:
        read(params)
    assert str(caught.value) == f"conventions: {message}"


def test_unknown_names_and_bad_arguments():
    with pytest.raises(InputError, match=r"params has the names 'kernel_1'; expected those of an"):
        read({"kernel_1": np.ones(3)})
    with pytest.raises(InputError, match=r"params has the names \(none\)"):
        read({})
    params = LSTM(3, 4, seed=0).params
    with pytest.raises(InputError, match="orientation is 'both'; expected one of 'Wx', 'xW'"):
        read(params, orientation="both")
    with pytest.raises(InputError, match="order is 'ifg'; expected the letters i, f, g, o"):
        read(params, order="ifg")


def test_the_textbook_is_family_a_and_output_weights_are_left_alone():
    lesson = LSTM(3, 4, seed=0)
    weights, found = read({**lesson.params, "W_hy": np.ones((2, 4)), "b_y": np.ones(2)})
    assert found.describe() == (
        "family A (Wi Wf WC Wo, bi bf bC bo): (H, H+I), W·x on [h; x], column biases"
    )
    same(weights, from_textbook("test", lesson.params))
    flat = {n: a.reshape(-1) if n[0] == "b" else a for n, a in lesson.params.items()}
    same(to_textbook(weights), flat)


def test_two_biases_are_added():
    weights = ours(3, 2)
    params = {
        "weight_ih": weights["weight_ih"],
        "weight_hh": weights["weight_hh"],
        "bias_ih": weights["bias"],
        "bias_hh": np.ones(12),
    }
    got, found = read(params)
    assert np.array_equal(got["bias"], weights["bias"] + 1)
    assert found.order == "ifgo"
