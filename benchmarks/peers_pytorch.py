"""PyTorch, eager: `torch.nn.LSTM` and `torch.nn.LSTMCell`; by hand where those cannot.

Configurations that enter, the fastest is timed: batch first or time first (the layout that
`torch.nn.LSTM` prefers, with the input already in it); for a step the layer or the cell; for ragged
batches packed or padded; one thread or two. Inference under `torch.inference_mode`; oneDNN is on
(the default).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from grid import STEPS_CHECKED, THREADS, Arrays, Contender, Problem
from torch.nn.utils.rnn import pack_padded_sequence
from torch_loop import Training

NAME = "PyTorch"
torch.set_num_threads(THREADS)
Tensor = torch.Tensor


def versions() -> dict[str, str]:
    return {"torch": torch.__version__}


def contenders(problem: Problem) -> list[Contender]:
    """Return each way with two threads and with one: small work is faster alone."""
    found = []
    for contender in _ways(problem):
        for threads in range(1, THREADS + 1):
            name = f"{contender.configuration}, {threads} thread{'s' if threads > 1 else ''}"
            around = partial(_held, threads, problem.work.kind != "train")
            found.append(contender._replace(configuration=name, around=around))
    return found


@contextmanager
def _held(threads: int, inference: bool) -> Iterator[None]:
    torch.set_num_threads(threads)
    with torch.inference_mode() if inference else nullcontext():
        yield
    torch.set_num_threads(THREADS)


def _ways(problem: Problem) -> list[Contender]:
    work = problem.work
    if work.kind == "step":
        return [_step(problem, False), _step(problem, True)]
    if work.variant:
        training = Training(problem)
        return [Contender("a loop by hand, autograd", training, training.outputs)]
    if work.ragged:
        return [_packed(problem), _train(problem, "padded")]
    make = _sequence if work.kind == "sequence" else _train
    return [make(problem, "batch first"), make(problem, "time first")]


def fill(module: torch.nn.Module, problem: Problem) -> torch.nn.Module:
    """Copy lstmkit's weights; of PyTorch's two biases the second is zero."""
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            if name.startswith("bias_hh"):
                tensor.zero_()
                continue
            name = name.replace("bias_ih", "bias") + ("" if "_l" in name else "_l0")
            tensor.copy_(torch.from_numpy(problem.lstm.parameters[name]))
    return module


def layer(problem: Problem, batch_first: bool) -> torch.nn.Module:
    work = problem.work
    lstm = torch.nn.LSTM(
        work.input_size,
        work.hidden_size,
        work.layers,
        batch_first=batch_first,
        bidirectional=work.bidirectional,
    )
    return fill(lstm, problem)


def cell_step(
    problem: Problem, cell: Callable
) -> tuple[Callable[[], Tensor], Callable[[], Arrays]]:
    """Return a step that carries its state on, and its outputs from a zero state."""
    x = torch.from_numpy(problem.x[:, 0].copy())
    state: list[tuple[Tensor, Tensor]] = []

    def restart() -> None:
        zeros = torch.zeros(problem.work.batch, problem.work.hidden_size)
        state[:] = [(zeros, zeros)]

    def call() -> Tensor:
        state[0] = cell(x, state[0])
        return state[0][0]

    def outputs() -> Arrays:
        restart()
        with torch.inference_mode():
            return {"y": torch.stack([call() for _ in range(STEPS_CHECKED)]).numpy()}

    restart()
    return call, outputs


def _step(problem: Problem, use_cell: bool) -> Contender:
    sizes = problem.work.input_size, problem.work.hidden_size
    if use_cell:
        step = fill(torch.nn.LSTMCell(*sizes), problem).eval()
    else:
        lstm = layer(problem, False).eval()

        def step(x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            _, (h, c) = lstm(x[None], (state[0][None], state[1][None]))
            return h[0], c[0]

    call, outputs = cell_step(problem, step)
    name = "torch.nn.LSTMCell" if use_cell else "torch.nn.LSTM"
    return Contender(name, call, outputs)


def _sequence(problem: Problem, layout: str) -> Contender:
    batch_first = layout == "batch first"
    lstm = layer(problem, batch_first).eval()
    x = torch.from_numpy(problem.x if batch_first else problem.x.swapaxes(0, 1).copy())

    def call() -> Tensor:
        return lstm(x)[0]

    def outputs() -> Arrays:
        with torch.inference_mode():
            y = call()
        return {"y": (y if batch_first else y.transpose(0, 1)).numpy()}

    return Contender(f"torch.nn.LSTM, {layout}", call, outputs)


def _named(names: list[str], gradients: tuple[Tensor, ...]) -> Arrays:
    return {
        name.replace("bias_ih", "bias"): gradient.numpy()
        for name, gradient in zip(names, gradients, strict=True)
        if "bias_hh" not in name
    }


def _train(problem: Problem, layout: str) -> Contender:
    """Forward and backward; in padded batches dy is zero past the ends, so nothing flows back."""
    batch_first = layout != "time first"
    lstm = layer(problem, batch_first)
    names, weights = zip(*lstm.named_parameters(), strict=True)

    def laid_out(array: Tensor) -> Tensor:
        return array if batch_first else array.transpose(0, 1).contiguous()

    x = laid_out(torch.from_numpy(problem.x)).clone().requires_grad_()
    dy = laid_out(torch.from_numpy(problem.dy))

    def call() -> tuple[Tensor, tuple[Tensor, ...]]:
        y, _ = lstm(x)
        return y, torch.autograd.grad(y, (x, *weights), dy)

    def outputs() -> Arrays:
        y, (dx, *gradients) = call()
        y, dx = (a.detach() if batch_first else a.detach().transpose(0, 1) for a in (y, dx))
        y, dx = y.numpy(), dx.numpy()
        if problem.lengths is not None:
            y = y * problem.real[:, :, None]
        return {"y": y, "dx": dx, **_named(names, gradients)}

    return Contender(f"torch.nn.LSTM, {layout}", call, outputs)


def _packed(problem: Problem) -> Contender:
    """The loss is taken on the packed output, so that PyTorch need not pad it again."""
    lstm = layer(problem, True)
    names, weights = zip(*lstm.named_parameters(), strict=True)
    x = torch.from_numpy(problem.x).clone().requires_grad_()
    lengths = torch.from_numpy(problem.lengths)

    def pack(tensor: Tensor) -> torch.nn.utils.rnn.PackedSequence:
        return pack_padded_sequence(tensor, lengths, batch_first=True, enforce_sorted=False)

    dy = pack(torch.from_numpy(problem.dy)).data

    def call() -> tuple[torch.nn.utils.rnn.PackedSequence, tuple[Tensor, ...]]:
        y, _ = lstm(pack(x))
        return y, torch.autograd.grad(y.data, (x, *weights), dy)

    def outputs() -> Arrays:
        y, (dx, *gradients) = call()
        padded, _ = torch.nn.utils.rnn.pad_packed_sequence(
            y, batch_first=True, total_length=problem.work.steps
        )
        return {"y": padded.detach().numpy(), "dx": dx.numpy(), **_named(names, gradients)}

    return Contender("torch.nn.LSTM, packed", call, outputs)
