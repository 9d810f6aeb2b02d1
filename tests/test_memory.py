"""Peak memory of training is linear in T, with the constant that docs/performance.md states."""

import tracemalloc

import numpy as np
import pytest

from lstmkit import LSTM, engine

pytestmark = pytest.mark.usefixtures("twin")

BATCH = 8


@pytest.fixture(autouse=True)
def _memory_that_is_counted(monkeypatch):
    if engine.native is not None:
        monkeypatch.setattr(engine.native, "empty", np.empty)


def peak(steps, input_size, hidden_size, **options):
    """Bytes at the worst moment of forward and backward, beyond the weights and x itself."""
    lstm = LSTM(input_size, hidden_size, seed=0, **options)
    x = np.zeros((BATCH, steps, input_size), np.float32)
    dy = np.zeros((BATCH, steps, lstm.output_size), np.float32)
    tracemalloc.start()
    try:
        _, _, tape = lstm.forward(x)
        lstm.backward(tape, dy)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(("input_size", "hidden_size"), [(16, 32), (64, 64)])
def test_peak_memory_is_linear_in_time(layers, input_size, hidden_size):
    at = {t: peak(t, input_size, hidden_size, num_layers=layers) for t in (50, 100, 200)}
    first, second = (at[100] - at[50]) / 50, (at[200] - at[100]) / 100
    assert abs(second / first - 1) < 0.01  # bytes a step, the same at any length
    # 17 H + I floats a token for the first layer, and 8 H for each further one; 3% for the lists.
    floats = 17 * hidden_size + input_size + 8 * hidden_size * (layers - 1)
    assert second <= 1.03 * 4 * BATCH * floats


def test_inference_keeps_no_gates():
    """Without a tape the memory is that of y and c, and one block of gates."""
    lstm = LSTM(16, 32, seed=0)
    x = np.zeros((1, 5_000, 16), np.float32)
    tracemalloc.start()
    lstm(x)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used <= 4 * 5_000 * (3 * 32 + 16) * 1.1 + 4 * 2 * 2048 * 128
