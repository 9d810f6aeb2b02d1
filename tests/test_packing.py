"""Ragged batches: the order, and that only real steps cost anything."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstmkit import LSTM, engine
from lstmkit.engine import Packing
from lstmkit.engine import numpy_twin as twin

lengths_strategy = st.lists(st.integers(0, 7), min_size=1, max_size=6)


def expected_order(lengths):
    """Sequence and step of every packed row, written the slow way."""
    order = sorted(range(len(lengths)), key=lambda n: -lengths[n])
    return [(n, t) for t in range(max(lengths)) for n in order if lengths[n] > t]


@given(lengths_strategy)
def test_pack_unpack_mirror(lengths):
    packing = Packing(len(lengths), 7, np.array(lengths))
    x = np.arange(len(lengths) * 7 * 2, dtype=float).reshape(-1, 7, 2) + 1
    packed = packing.pack(x)
    order = expected_order(lengths)
    assert packing.tokens == len(order) == sum(lengths)
    assert packing.sizes == [sum(k > t for k in lengths) for t in range(max(lengths))]
    np.testing.assert_array_equal(packed, np.array([x[k] for k in order]).reshape(-1, 2))
    inside = (np.arange(7) < np.array(lengths)[:, None])[..., None]
    np.testing.assert_array_equal(packing.unpack(packed), np.where(inside, x, 0))
    turned = packing.unpack(packing.mirror(packed))
    for n, length in enumerate(lengths):
        np.testing.assert_array_equal(turned[n, :length], x[n, :length][::-1])
    np.testing.assert_array_equal(packing.mirror(packing.mirror(packed)), packed)


@given(lengths_strategy)
def test_sort_unsort(lengths):
    packing = Packing(len(lengths), 7, np.array(lengths))
    rows = np.arange(len(lengths) * 2.0).reshape(1, -1, 2)
    sorted_rows = packing.sort(rows)
    np.testing.assert_array_equal(packing.unsort(sorted_rows), rows)
    found = [lengths[int(row[0]) // 2] for row in sorted_rows[0]]
    assert found == sorted(lengths, reverse=True)


def test_the_engine_works_on_real_steps_only(monkeypatch):
    """Forward and backward see each real step once and no padding at all."""
    seen = {"advance": 0, "retreat": 0}
    for name in seen:
        real = getattr(twin, name)

        def counted(*args, name=name, real=real):
            rows = args[2] if name == "advance" else args[3]
            seen[name] += len(rows)
            return real(*args)

        monkeypatch.setattr(twin, name, counted)
    monkeypatch.setattr(engine, "native", None)
    lstm = LSTM(3, 4, num_layers=2, bidirectional=True, seed=0)
    lengths = [2, 50, 0, 1]
    y, _, tape = lstm.forward(np.ones((4, 50, 3)), lengths=lengths)
    lstm.backward(tape, y)
    assert seen == {"advance": 4 * sum(lengths), "retreat": 4 * sum(lengths)}
