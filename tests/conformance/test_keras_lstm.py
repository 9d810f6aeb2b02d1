"""Keras's own tests of its LSTM, from its installed wheel, run on ours.

The layer under test is Keras's shell (its arguments, weights, masks and states) around our LSTM:
`inner_loop`, which does the arithmetic, is ours, with our gradients. All six tests of the file run,
and none is left out.
"""

import importlib
import os
import unittest

import numpy as np
import pytest

import lstmkit as lk
from lstmkit.layers import Recurrent

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # PyTorch's
    pytest.mark.filterwarnings("ignore::UserWarning:keras"),
]

TESTS = [
    "test_basics",
    "test_correctness0",
    "test_correctness1",
    "test_masking",
    "test_pass_initial_state",
    "test_statefulness",
]


@pytest.fixture(scope="module")
def adapter():
    """Make the layer: a subclass of Keras's LSTM whose time loop is ours."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    import torch

    class Loop(torch.autograd.Function):
        """Our forward and backward passes, as PyTorch wants them."""

        @staticmethod
        def forward(ctx, lstm, x, h, c, *weights):
            state = h.numpy()[None], c.numpy()[None]
            y, (h, c), ctx.tape = lstm.forward(x.numpy(), state)
            ctx.lstm = lstm
            return torch.tensor(y), torch.tensor(h[0]), torch.tensor(c[0])

        @staticmethod
        def backward(ctx, dy, dh, dc):
            dstate = dh.numpy()[None], dc.numpy()[None]
            dx, (dh0, dc0), grads = ctx.lstm.backward(ctx.tape, dy.numpy(), dstate)
            first = (None, dx, dh0[0], dc0[0], *grads.values())
            return tuple(None if a is None else torch.tensor(a) for a in first)

    @keras.saving.register_keras_serializable()
    class LSTM(keras.layers.LSTM):
        runs = 0

        def inner_loop(self, sequences, initial_state, mask, training=False):
            type(self).runs += 1
            tensors = [self.cell.kernel, self.cell.recurrent_kernel]
            if self.use_bias:
                tensors.append(self.cell.bias)
            tensors = [keras.ops.cast(one, "float32") for one in tensors]
            names = ("weight_ih_l0", "weight_hh_l0", "bias_l0")
            ours = [one.T if one.ndim == 2 else one for one in tensors]
            config = lk.LSTM(sequences.shape[-1], self.units, bias=self.use_bias, seed=0).config
            lstm = lk.LSTM.from_parameters(
                config,
                {n: a.detach().numpy() for n, a in zip(names, ours, strict=False)},
            )
            x, h, c = (keras.ops.cast(a, "float32") for a in (sequences, *initial_state))
            if mask is not None:
                layer = Recurrent(
                    lstm,
                    backwards=self.go_backwards,
                    turned=True,
                    repeat=not self.zero_output_for_mask,
                )
                state = h.numpy()[None], c.numpy()[None]
                mask = keras.ops.convert_to_numpy(mask).astype(bool)
                y, end = layer.run(x.detach().numpy(), state, mask)
                outputs, h, c = (torch.tensor(a) for a in (y, end[0][0], end[1][0]))
            else:
                x = torch.flip(x, [1]) if self.go_backwards else x
                outputs, h, c = Loop.apply(lstm, x, h, c, *ours)
            outputs, h, c = (keras.ops.cast(a, self.compute_dtype) for a in (outputs, h, c))
            return outputs[:, -1], outputs, [h, c]

    return LSTM


def name_of(case):
    return case.id().rpartition(".")[2].partition(" ")[0]


def run_their_tests(adapter, monkeypatch):
    from keras.src import layers

    module = importlib.import_module("keras.src.layers.rnn.lstm_test")
    monkeypatch.setattr(layers, "LSTM", adapter)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(module.LSTMTest)
    names = sorted(map(name_of, suite))
    result = unittest.TestResult()
    suite.run(result)
    return names, result


def test_their_tests_of_the_lstm_pass_on_ours(adapter, monkeypatch):
    import keras

    before = adapter.runs
    names, result = run_their_tests(adapter, monkeypatch)
    broken = [text for _, text in result.failures + result.errors]
    print(
        f"Keras {keras.__version__}, lstm_test.py: {result.testsRun} tests run, "
        f"{len(broken)} failed, {len(result.skipped)} skipped, {adapter.runs - before} runs of ours"
    )
    assert not broken, "\n\n".join(broken)
    assert names == TESTS
    assert (result.testsRun, result.skipped) == (6, [])
    assert adapter.runs - before >= 20


@pytest.mark.parametrize(
    ("damage", "failing"),
    [
        ("gates", {"test_correctness0", "test_statefulness", "test_masking"}),
        ("mask", {"test_masking"}),
        ("state", {"test_pass_initial_state", "test_statefulness"}),
        ("direction", {"test_correctness0", "test_pass_initial_state"}),
    ],
)
def test_their_tests_fail_where_ours_is_damaged(adapter, monkeypatch, damage, failing):
    class Damaged(adapter):
        def inner_loop(self, sequences, initial_state, mask, training=False):
            if damage == "mask":
                mask = None
            if damage == "state":
                initial_state = [a * 0 for a in initial_state]
            if damage == "direction":
                self.go_backwards = False
            last, outputs, states = super().inner_loop(sequences, initial_state, mask, training)
            if damage == "gates":
                last = last * np.float32(1.01)
            return last, outputs, states

    Damaged.__name__ = "LSTM"
    _, result = run_their_tests(Damaged, monkeypatch)
    found = {name_of(case) for case, _ in result.failures + result.errors}
    assert failing <= found
