"""Beside PyTorch: its own module database, round trips of any LSTM, and real checkpoints.

    nox -s conformance

PyTorch's database is that of its own tests, `torch.testing._internal.common_modules`; it needs the
package expecttest.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lstmkit as lk
from lstmkit.formats import pytorch

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]

COUNTS = {"LSTM": 32, "LSTMCell": 2}  # of torch 2.13
NEAR = 1e-10


@lru_cache
def cases(name: str) -> list[Any]:
    """Return PyTorch's own inputs for a module: constructor and forward arguments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from torch.testing._internal.common_modules import module_db

        (info,) = (info for info in module_db if info.module_cls is getattr(torch.nn, name))
        arguments = {"device": "cpu", "dtype": torch.float64, "requires_grad": False}
        return list(info.module_inputs_func(info, **arguments, training=False))


@pytest.mark.parametrize("name", COUNTS)
def test_the_database_has_as_many_as_we_think(name):
    assert len(cases(name)) == COUNTS[name]
    print(f"PyTorch's module database: {len(cases(name))} inputs of nn.{name}")


def run_ours(lstm: lk.LSTM, x: np.ndarray, state: Any, batch_first: bool) -> tuple[Any, Any, Any]:
    """Run on an input as PyTorch takes it: batched or not, time or batch first."""
    batched = x.ndim == 3
    if not batched:
        x = x[None]
        state = state and tuple(a[:, None] for a in state)
    elif not batch_first:
        x = x.swapaxes(0, 1)
    y, (h, c) = lstm(x, state)
    if not batched:
        return y[0], h[:, 0], c[:, 0]
    return (y if batch_first else y.swapaxes(0, 1)), h, c


@pytest.mark.parametrize("k", range(COUNTS["LSTM"]))
def test_an_lstm_of_the_database(k, tmp_path, twin):
    import torch

    case = cases("LSTM")[k]
    torch.manual_seed(k)
    options = dict(case.constructor_input.kwargs)
    module = torch.nn.LSTM(*case.constructor_input.args, **options, dtype=torch.float64)
    path = tmp_path / "lstm.pt"
    torch.save(module.state_dict(), path)
    lstm = pytorch.load(path)
    assert lstm.dtype == np.float64
    assert lstm.config["bias"] == options["bias"]
    args = case.forward_input.args
    x, hx = args[0], (args[1] if len(args) > 1 else None)
    with torch.no_grad():
        y, (h, c) = module(x, hx, **case.forward_input.kwargs)
    state = hx and tuple(a.numpy() for a in hx)
    found = run_ours(lstm, x.numpy(), state, options["batch_first"])
    for got, want in zip(found, (y, h, c), strict=True):
        assert got.shape == tuple(want.shape)
        assert np.abs(got - want.numpy()).max() < NEAR

    # And batched, whatever the input of the database was: PyTorch's packed sequences are ours.
    x = torch.randn(3, 5, options["input_size"], dtype=torch.float64)
    lengths = [2, 5, 3]
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x if options["batch_first"] else x.transpose(0, 1), torch.tensor(lengths),
        batch_first=options["batch_first"], enforce_sorted=False,
    )  # fmt: skip
    with torch.no_grad():
        packed, (h, c) = module(packed)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    got_y, (got_h, got_c) = lstm(x.numpy(), lengths=lengths)
    for got, want in ((got_y, y), (got_h, h), (got_c, c)):
        assert np.abs(got - want.numpy()).max() < NEAR


@pytest.mark.parametrize("k", range(COUNTS["LSTMCell"]))
def test_a_cell_of_the_database(k, tmp_path, twin):
    import torch

    case = cases("LSTMCell")[k]
    torch.manual_seed(k)
    arguments = case.constructor_input
    module = torch.nn.LSTMCell(*arguments.args, **arguments.kwargs, dtype=torch.float64)
    path = tmp_path / "cell.pt"
    torch.save(module.state_dict(), path)
    lstm = pytorch.load(path)
    x, (h0, c0) = case.forward_input.args
    with torch.no_grad():
        h, c = module(x, (h0, c0))
    x, h0, c0 = (np.atleast_2d(a.numpy()) for a in (x, h0, c0))
    _, (got_h, got_c) = lstm(x[:, None], (h0[None], c0[None]))
    for got, want in ((got_h[0], h), (got_c[0], c)):
        assert np.abs(got - np.atleast_2d(want.numpy())).max() < NEAR
    stream = lstm.stream(len(x))
    stream.state = (h0[None], c0[None])
    assert np.abs(stream.step(x) - np.atleast_2d(h.numpy())).max() < NEAR


OPTIONS = st.fixed_dictionaries(
    {
        "input_size": st.integers(1, 7),
        "hidden_size": st.integers(2, 9),
        "num_layers": st.integers(1, 3),
        "bidirectional": st.booleans(),
        "bias": st.booleans(),
        "proj_size": st.integers(0, 1),
        "dtype": st.sampled_from(["float32", "float64"]),
        "seed": st.integers(0, 99),
    }
)


@settings(max_examples=60)
@given(OPTIONS, st.sampled_from(["pt", "pth", "safetensors"]), st.sampled_from(["", "a.b"]))
def test_what_we_write_pytorch_takes(tmp_path_factory, options, suffix, prefix):
    import torch
    from safetensors.torch import load_file

    lstm = lk.LSTM(**options)
    folder = tmp_path_factory.mktemp("written")
    first, second = folder / f"a.{suffix}", folder / f"b.{suffix}"
    pytorch.save(lstm, first, prefix=prefix)
    if suffix == "safetensors":
        state = load_file(first)
    else:
        state = torch.load(first, weights_only=True)
        assert set(torch.load(first, weights_only=True, mmap=True)) == set(state)
    start = f"{prefix}." if prefix else ""
    kwargs = {k: v for k, v in options.items() if k not in ("dtype", "seed")}
    module = torch.nn.LSTM(**kwargs, batch_first=True, dtype=getattr(torch, options["dtype"]))
    assert all(name.startswith(start) for name in state)
    module.load_state_dict({name[len(start) :]: tensor for name, tensor in state.items()})
    x = np.random.default_rng(0).normal(size=(2, 6, options["input_size"])).astype(lstm.dtype)
    with torch.no_grad():
        y, (h, c) = module(torch.from_numpy(x))
    near = NEAR if lstm.dtype == np.float64 else 1e-5  # float32: 6 steps, 3 layers of 2^-24
    got_y, (got_h, got_c) = lstm(x)
    for got, want in ((got_y, y), (got_h, h), (got_c, c)):
        assert np.abs(got - want.numpy()).max() < near

    again = pytorch.load(first)
    pytorch.save(again, second, prefix=prefix)
    assert first.read_bytes() == second.read_bytes()

    # What PyTorch writes of it comes back as it was, bit for bit.
    torch.save(module.state_dict(), second)
    for name, array in pytorch.load(second).parameters.items():
        assert array.tobytes() == lstm.parameters[name].tobytes()


def test_a_chain_goes_into_pytorchs_modules(tmp_path):
    import torch

    class Tagger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(11, 6)
            self.rnn = torch.nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
            self.head = torch.nn.Linear(10, 3)

        def forward(self, tokens):
            return self.head(self.rnn(self.embedding(tokens))[0])

    model = lk.Sequential(
        {
            "embedding": lk.Embedding(11, 6, seed=0),
            "rnn": lk.LSTM(6, 5, 2, bidirectional=True, seed=1),
            "head": lk.Linear(10, 3, seed=2),
        }
    )
    path = tmp_path / "tagger.pt"
    pytorch.save(model, path)
    module = Tagger()
    module.load_state_dict(torch.load(path, weights_only=True))
    tokens = np.random.default_rng(0).integers(0, 11, (2, 7))
    with torch.no_grad():
        want = module(torch.from_numpy(tokens)).numpy()
    assert np.abs(model(tokens)[0] - want).max() < 1e-5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_widened_exactly(tmp_path, dtype):
    """Every finite half-precision number there is, in a weight."""
    import torch

    bits = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(getattr(torch, dtype))
    numbers = torch.where(torch.isfinite(bits), bits, 0).reshape(4 * 128, 128)
    state = {"weight_ih_l0": numbers, "weight_hh_l0": numbers}
    torch.save(state, tmp_path / "half.pt")
    found = pytorch.load(tmp_path / "half.pt").parameters["weight_ih_l0"]
    assert found.tobytes() == numbers.float().numpy().tobytes()
