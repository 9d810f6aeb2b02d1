"""The LSTM as a lesson writes it: plain functions, one equation a line, NumPy alone.

One step reads an input ``x_t`` and carries two states. The **cell state** ``c`` is the memory: it
is only ever scaled and added to. The **hidden state** ``h`` is what the cell shows of that memory,
to the next step and to whatever stands above it. Four small layers look at ``[h; x]``, the
previous hidden state stacked on the input, and decide what happens::

    f = σ(Wf [h; x] + bf)        forget gate: how much of each memory stays
    i = σ(Wi [h; x] + bi)        input gate: how much of each new value is written
    g = tanh(WC [h; x] + bC)     candidate: the new values themselves
    o = σ(Wo [h; x] + bo)        output gate: how much of each memory is shown
    c = f ∘ c' + i ∘ g           the memory: a part of the old plus a part of the new
    h = o ∘ tanh(c)              the part of the memory that is shown

Gates lie between 0 and 1, so they act as taps; the candidate lies between -1 and 1, so a memory can
go up or down. ``c'`` is the cell state of the step before, ``∘`` multiplies entry by entry.

**Why the cell state keeps gradients alive.** In the basic RNN ``h_t = tanh(W_xh x_t + W_hh h_{t-1}
+ b_h)`` every step back in time multiplies the gradient by ``W_hh`` transposed and by ``1 - h²``.
A hundred steps make a hundred such factors: the product nearly always dies out or blows up, and
with it what the loss has to say about the distant past. From ``c_t`` straight back to ``c_{t-1}``
the factor is just ``f``, with no matrix and no slope of a tanh: where the forget gate is open
(``f`` near 1) the gradient arrives as it left. The network learns where to open it. The gates
look at ``h`` too and their paths fade as in the RNN; it is the direct path that lasts.

>>> rng = np.random.default_rng(0)
>>> X, at_the_end = rng.normal(size=(100, 3)), np.zeros((100, 8))
>>> at_the_end[-1] = 1.0  # the loss is the sum of h_100: what does it say about the start?
>>> rnn = {"W_xh": rng.normal(size=(8, 3)), "W_hh": 0.3 * rng.normal(size=(8, 8))}
>>> _, dh0, _ = rnn_backward(X, np.zeros(8), rnn | {"b_h": np.zeros(8)}, at_the_end)
>>> lstm = LSTM(3, 8, seed=0)
>>> lstm.bf += 5.0  # forget gates that start open
>>> _, _, dc0, _ = lstm_backward(X, np.zeros(8), np.zeros(8), lstm.params, at_the_end)
>>> print(np.abs(dh0).max() < 1e-12, np.abs(dc0).max() > 0.1)
True True

**What corresponds in a transformer.** `lstm_output_layer` is the same layer there: a linear map
from each position's vector to one logit for every possible next token. What differs is how a
position learns of the past. The LSTM carries a state of fixed size and has to choose, with ``f``
and ``i``, what to keep before it knows what will be asked; a step costs the same however long the
past is. A transformer carries no state: attention looks again at every earlier position, which
it keeps as keys and values, so nothing need be forgotten, all positions train in parallel, and a
step costs more the longer the past. Its residual path, ``x + layer(x)``, does through depth what
``c`` does through time: the gradient has a way back on which it is only ever added to.

**Shapes** go by letter: T time steps, I inputs, H hidden units, O outputs. Each ``W`` is
(H, H+I) and acts on ``[h; x]``, ``h`` first; each bias is (H,) or (H, 1). Arguments are never
changed, every result is an array of its own, and the dtype is that of the arguments (float64 for
whole numbers). ``lstmkit.LSTM`` stacks the same weights in the order i, f, g, o, and its
``from_textbook`` takes them from here.

**Backward functions** take the arguments of their forward, then the gradient of the loss in each of
its results, and return the gradient in each of its arguments, in order. The letter d marks them:
``dh`` is ∂L/∂h. They compute the gates again, which costs time but hides nothing.

References
----------
Hochreiter and Schmidhuber (1997), Long short-term memory, Neural Computation 9(8): the cell.
Gers, Schmidhuber and Cummins (2000), Learning to forget, Neural Computation 12(10): its forget
gate. Bengio, Simard and Frasconi (1994), Learning long-term dependencies with gradient descent is
difficult, IEEE Transactions on Neural Networks 5(2): why the basic RNN loses the past.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Params = Mapping[str, Array]


def sigmoid(z: Array) -> Array:
    """σ(z) = 1 / (1 + exp(-z)), squeezing any number into the range 0 to 1.

    The formula as it stands overflows for large negative z. Here every exponent is at most 0:
    where z < 0 the fraction is taken times exp(z) above and below. Both tails keep all their
    digits; far out they are exactly 0 and 1. Complex z works too (real parts decide), so that
    gradients can be proved with the complex step.

    >>> print(*sigmoid(np.array([-1000.0, -40.0, 0.0, 1000.0])))
    0.0 4.248354255291589e-18 0.5 1.0
    """
    with np.errstate(under="ignore"):  # exp(-1000) is to become 0
        value: Array = np.exp(np.minimum(z, 0)) / (1 + np.exp(np.minimum(z, -z)))
    return value


def lstm_cell_step(x_t: Array, h_prev: Array, c_prev: Array, params: Params) -> tuple[Array, Array]:
    """Take one step of the LSTM: read x_t, update the memory, show a part of it.

    Parameters
    ----------
    x_t : array (I,)
        The input of this step.
    h_prev, c_prev : arrays (H,)
        Hidden state and cell state after the step before (zeros at the start).
    params : dict
        Weights ``Wf Wi WC Wo``, each (H, H+I), acting on ``[h; x]``; biases ``bf bi bC bo``, each
        (H,) or (H, 1).

    Returns
    -------
    h_t, c_t : arrays (H,)
        The hidden state, also the output of this step, and the cell state.

    Raises
    ------
    ValueError
        If an array is missing or has another shape; one line says which.

    Examples
    --------
    With all weights 0 the biases alone decide. Here the forget gate is open and the input gate
    shut, so the memory stays as it was, whatever comes in:

    >>> params = {name: np.zeros((2, 5)) for name in ("Wf", "Wi", "WC", "Wo")}
    >>> params |= {name: np.zeros(2) for name in ("bC", "bo")}
    >>> params |= {"bf": np.full(2, 1000.0), "bi": np.full(2, -1000.0)}
    >>> h, c = lstm_cell_step(np.ones(3), np.zeros(2), np.array([0.5, -2.0]), params)
    >>> print(c, h.round(3))
    [ 0.5 -2. ] [ 0.231 -0.482]
    """
    p, sizes = _check_params("lstm_cell_step", params, _LSTM)
    x_t, h_prev, c_prev = _check(
        "lstm_cell_step", sizes, x_t=(x_t, "I"), h_prev=(h_prev, "H"), c_prev=(c_prev, "H")
    )

    hx = np.concatenate([h_prev, x_t])  # [h; x]
    f = sigmoid(p["Wf"] @ hx + p["bf"])  # forget gate
    i = sigmoid(p["Wi"] @ hx + p["bi"])  # input gate
    g = np.tanh(p["WC"] @ hx + p["bC"])  # candidate
    o = sigmoid(p["Wo"] @ hx + p["bo"])  # output gate
    c_t = f * c_prev + i * g
    h_t = o * np.tanh(c_t)
    return h_t, c_t


def lstm_cell_step_backward(
    x_t: Array, h_prev: Array, c_prev: Array, params: Params, dh_t: Array, dc_t: Array
) -> tuple[Array, Array, Array, dict[str, Array]]:
    """Turn the gradient in a step's results into the gradient in its arguments.

    ``c_t`` reaches the loss by two ways: through ``h_t = o ∘ tanh(c_t)``, and directly through the
    next step, from where ``dc_t`` came. Both count, so they are added.

    Parameters
    ----------
    x_t, h_prev, c_prev, params
        As given to `lstm_cell_step`.
    dh_t, dc_t : arrays (H,)
        ∂L/∂h_t and ∂L/∂c_t, the latter without what goes through h_t.

    Returns
    -------
    dx_t : array (I,)
    dh_prev, dc_prev : arrays (H,)
    dparams : dict
        One gradient for each of the eight arrays, in its shape.
    """
    p, sizes = _check_params("lstm_cell_step_backward", params, _LSTM)
    x_t, h_prev, c_prev = _check(
        "lstm_cell_step_backward", sizes, x_t=(x_t, "I"), h_prev=(h_prev, "H"), c_prev=(c_prev, "H")
    )
    dh_t, dc_t = _check("lstm_cell_step_backward", sizes, dh_t=(dh_t, "H"), dc_t=(dc_t, "H"))

    # The step again, for the values in the middle.
    hx = np.concatenate([h_prev, x_t])
    f = sigmoid(p["Wf"] @ hx + p["bf"])
    i = sigmoid(p["Wi"] @ hx + p["bi"])
    g = np.tanh(p["WC"] @ hx + p["bC"])
    o = sigmoid(p["Wo"] @ hx + p["bo"])
    tanh_c = np.tanh(f * c_prev + i * g)

    # h = o ∘ tanh(c)
    do = dh_t * tanh_c
    dc = dc_t + dh_t * o * (1 - tanh_c**2)
    # c = f ∘ c' + i ∘ g
    df = dc * c_prev
    di = dc * g
    dg = dc * i
    dc_prev = dc * f  # the direct path: no matrix, no slope
    # Through the activations: σ' = σ (1 - σ), tanh' = 1 - tanh²; z is what each was applied to.
    dz_f = df * f * (1 - f)
    dz_i = di * i * (1 - i)
    dz_g = dg * (1 - g**2)
    dz_o = do * o * (1 - o)
    # z = W [h; x] + b
    dhx = p["Wf"].T @ dz_f + p["Wi"].T @ dz_i + p["WC"].T @ dz_g + p["Wo"].T @ dz_o
    dh_prev = dhx[: sizes["H"]]
    dx_t = dhx[sizes["H"] :]
    dparams = {
        "Wf": np.outer(dz_f, hx),
        "Wi": np.outer(dz_i, hx),
        "WC": np.outer(dz_g, hx),
        "Wo": np.outer(dz_o, hx),
        "bf": dz_f.reshape(np.shape(params["bf"])),
        "bi": dz_i.reshape(np.shape(params["bi"])),
        "bC": dz_g.reshape(np.shape(params["bC"])),
        "bo": dz_o.reshape(np.shape(params["bo"])),
    }
    return dx_t, dh_prev, dc_prev, dparams


def lstm_forward(X_seq: Array, h0: Array, c0: Array, params: Params) -> list[tuple[Array, Array]]:
    """Run the LSTM over a sequence: the same step, with the same weights, T times.

    Parameters
    ----------
    X_seq : array (T, I)
    h0, c0 : arrays (H,)
        The states before the first step.
    params : dict
        As for `lstm_cell_step`.

    Returns
    -------
    list of T pairs (h_t, c_t)
        The states after each step, every one an array of its own. T = 0 gives an empty list.

    Examples
    --------
    >>> lstm = LSTM(input_size=3, hidden_size=4, seed=0)
    >>> states = lstm_forward(np.ones((5, 3)), np.zeros(4), np.zeros(4), lstm.params)
    >>> h_last, c_last = states[-1]
    >>> print(len(states), h_last.shape, c_last.shape)
    5 (4,) (4,)
    """
    _, sizes = _check_params("lstm_forward", params, _LSTM)
    X_seq, h_t, c_t = _check(
        "lstm_forward", sizes, X_seq=(X_seq, "T, I"), h0=(h0, "H"), c0=(c0, "H")
    )

    states = []
    for x_t in X_seq:
        h_t, c_t = lstm_cell_step(x_t, h_t, c_t, params)
        states.append((h_t, c_t))
    return states


def lstm_backward(
    X_seq: Array,
    h0: Array,
    c0: Array,
    params: Params,
    dh: Array | Sequence[Array],
    dc_last: Array | None = None,
) -> tuple[Array, Array, Array, dict[str, Array]]:
    """Backpropagate through time: the exact gradients of a loss on the states of `lstm_forward`.

    Walks the sequence from its end. At each step the gradient in ``h_t`` is what the loss says
    about that step plus what came back from the step after; the weights are shared by all steps,
    so their gradients are summed over time.

    Parameters
    ----------
    X_seq, h0, c0, params
        As given to `lstm_forward`.
    dh : array (T, H), or a list of T arrays (H,)
        ∂L/∂h_t for each step: only what the loss takes from ``h_t`` directly (zero rows where it
        takes nothing).
    dc_last : array (H,), optional
        The same for the last cell state; without it, zero.

    Returns
    -------
    dX_seq : array (T, I)
    dh0, dc0 : arrays (H,)
    dparams : dict
        One gradient for each of the eight arrays, in its shape.

    Examples
    --------
    One step downhill makes the loss smaller, here the sum of all outputs:

    >>> X, zeros = np.ones((5, 3)), np.zeros(4)
    >>> params = LSTM(input_size=3, hidden_size=4, seed=0).params
    >>> loss = lambda: sum(h.sum() for h, _ in lstm_forward(X, zeros, zeros, params))
    >>> before = loss()
    >>> _, _, _, dparams = lstm_backward(X, zeros, zeros, params, np.ones((5, 4)))
    >>> for name in params:
    ...     params[name] = params[name] - 0.01 * dparams[name]
    >>> bool(loss() < before)
    True
    """
    p, sizes = _check_params("lstm_backward", params, _LSTM)
    X_seq, h0, c0 = _check(
        "lstm_backward", sizes, X_seq=(X_seq, "T, I"), h0=(h0, "H"), c0=(c0, "H")
    )
    (dh,) = _check("lstm_backward", {**sizes, "T": len(X_seq)}, dh=(dh, "T, H"))
    dh_t, dc_t = np.zeros_like(h0), np.zeros_like(c0)
    if dc_last is not None:
        dc_t = dc_t + _check("lstm_backward", sizes, dc_last=(dc_last, "H"))[0]

    states = [(h0, c0), *lstm_forward(X_seq, h0, c0, params)]  # T + 1 states around T steps
    dparams = {name: np.zeros_like(p[name]).reshape(np.shape(params[name])) for name in _LSTM}
    dX_rows = []
    for t in reversed(range(len(X_seq))):
        h_prev, c_prev = states[t]
        dx_t, dh_t, dc_t, step = lstm_cell_step_backward(
            X_seq[t], h_prev, c_prev, params, dh[t] + dh_t, dc_t
        )
        dX_rows.append(dx_t)
        dparams = {name: dparams[name] + step[name] for name in _LSTM}
    return np.reshape(dX_rows[::-1], X_seq.shape), dh_t, dc_t, dparams


def lstm_output_layer(h_states: Array | Sequence[Array], W_hy: Array, b_y: Array) -> Array:
    """Turn each hidden state into logits: ``W_hy h_t + b_y``, one score for every class or token.

    The logits are plain numbers, one row a step; a softmax turns a row into probabilities, and
    belongs to the loss. In a transformer the layer that predicts the next token is this one.

    Parameters
    ----------
    h_states : array (T, H), or a list of T arrays (H,)
        Hidden states (not the pairs that `lstm_forward` returns: take the h of each).
    W_hy : array (O, H)
    b_y : array (O,)

    Returns
    -------
    logits : array (T, O)

    Examples
    --------
    >>> W_hy, b_y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([0.0, 0.0, 10.0])
    >>> print(lstm_output_layer([np.array([1.0, 2.0])], W_hy, b_y))
    [[ 1.  2. 13.]]
    """
    h_states, W_hy, b_y = _check_output_layer("lstm_output_layer", h_states, W_hy, b_y)
    logits: Array = h_states @ W_hy.T + b_y
    return logits


def lstm_output_layer_backward(
    h_states: Array | Sequence[Array], W_hy: Array, b_y: Array, dlogits: Array
) -> tuple[Array, Array, Array]:
    """Turn the gradient in the logits into ``(dh_states, dW_hy, db_y)``.

    ``dlogits`` is (T, O). The first result, (T, H), is the ``dh`` that `lstm_backward` asks for.
    """
    h_states, W_hy, b_y = _check_output_layer("lstm_output_layer_backward", h_states, W_hy, b_y)
    sizes = {"T": len(h_states), "O": len(b_y)}
    (dlogits,) = _check("lstm_output_layer_backward", sizes, dlogits=(dlogits, "T, O"))
    return dlogits @ W_hy, dlogits.T @ h_states, dlogits.sum(axis=0)


class LSTM:
    """The same LSTM as an object that holds its weights and works on columns.

    Weights are Glorot-uniform, drawn one after the other from one generator, so that no two gates
    start alike: the bound ``sqrt(6 / (fan_in + fan_out))`` keeps the size of signals about the same
    on the way in and back (Glorot and Bengio 2010). Biases are 0, but the forget gate's are 1: a
    cell that starts by remembering learns long dependencies sooner (Jozefowicz et al. 2015).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    seed : int or numpy.random.Generator, optional
        The same seed gives the same weights.

    Attributes
    ----------
    Wf, Wi, WC, Wo : arrays (H, H+I)
        Forget gate, input gate, candidate and output gate, acting on ``[h; x]``.
    bf, bi, bC, bo : arrays (H, 1)
        Their biases. What is assigned to an attribute is used from the next call on.

    Examples
    --------
    >>> lstm = LSTM(input_size=3, hidden_size=4, seed=0)
    >>> h_t, C_t = lstm.forward(np.ones((3, 1)), np.zeros((4, 1)), np.zeros((4, 1)))
    >>> print(h_t.shape, lstm.forward_sequence(np.ones((5, 3))).shape)
    (4, 1) (5, 4)
    """

    def __init__(
        self, input_size: int, hidden_size: int, seed: int | np.random.Generator | None = None
    ) -> None:
        for name, size in {"input_size": input_size, "hidden_size": hidden_size}.items():
            if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
                raise ValueError(f"LSTM: {name} is {size!r}; expected a whole number of at least 1")
        rng = np.random.default_rng(seed)
        shape = (hidden_size, hidden_size + input_size)
        bound = np.sqrt(6 / sum(shape))
        self.Wf: Array = rng.uniform(-bound, bound, shape)
        self.Wi: Array = rng.uniform(-bound, bound, shape)
        self.WC: Array = rng.uniform(-bound, bound, shape)
        self.Wo: Array = rng.uniform(-bound, bound, shape)
        self.bf: Array = np.ones((hidden_size, 1))
        self.bi: Array = np.zeros((hidden_size, 1))
        self.bC: Array = np.zeros((hidden_size, 1))
        self.bo: Array = np.zeros((hidden_size, 1))

    @property
    def params(self) -> dict[str, Array]:
        """A new dict of the eight arrays themselves, as `lstm_cell_step` takes it."""
        return {name: getattr(self, name) for name in _LSTM}

    def forward(self, x: Array, h_prev: Array, C_prev: Array) -> tuple[Array, Array]:
        """Take one step on columns: x (I, 1), h_prev and C_prev (H, 1) → (h_t, C_t), (H, 1)."""
        _, sizes = _check_params("LSTM.forward", self.params, _LSTM)
        x, h_prev, C_prev = _check(
            "LSTM.forward", sizes, x=(x, "I, 1"), h_prev=(h_prev, "H, 1"), C_prev=(C_prev, "H, 1")
        )
        h_t, C_t = lstm_cell_step(x[:, 0], h_prev[:, 0], C_prev[:, 0], self.params)
        return h_t[:, None], C_t[:, None]

    def forward_sequence(self, X: Array) -> Array:
        """Run over X (T, I) from zero states; return the hidden states (T, H)."""
        _, sizes = _check_params("LSTM.forward_sequence", self.params, _LSTM)
        (X,) = _check("LSTM.forward_sequence", sizes, X=(X, "T, I"))
        zeros = np.zeros(sizes["H"])
        states = lstm_forward(X, zeros, zeros, self.params)
        return np.reshape([h_t for h_t, _ in states], (len(X), sizes["H"]))


def rnn_cell_step(x_t: Array, h_prev: Array, params: Params) -> Array:
    """Take one step of the basic RNN: ``h_t = tanh(W_xh x_t + W_hh h_prev + b_h)``.

    There is one state and no gate. At every step all of it is mixed by ``W_hh`` and squeezed by the
    tanh, so nothing is kept unless the weights happen to reproduce it.

    Parameters
    ----------
    x_t : array (I,)
    h_prev : array (H,)
    params : dict
        ``W_xh`` (H, I), ``W_hh`` (H, H), ``b_h`` (H,) or (H, 1).

    Returns
    -------
    h_t : array (H,)

    Examples
    --------
    >>> params = {"W_xh": np.eye(2), "W_hh": np.zeros((2, 2)), "b_h": np.array([0.0, 1000.0])}
    >>> print(rnn_cell_step(np.zeros(2), np.ones(2), params))
    [0. 1.]
    """
    p, sizes = _check_params("rnn_cell_step", params, _RNN)
    x_t, h_prev = _check("rnn_cell_step", sizes, x_t=(x_t, "I"), h_prev=(h_prev, "H"))
    h_t: Array = np.tanh(p["W_xh"] @ x_t + p["W_hh"] @ h_prev + p["b_h"])
    return h_t


def rnn_forward(X_seq: Array, h0: Array, params: Params) -> list[Array]:
    """Run the basic RNN over X_seq (T, I) from h0 (H,); return the T hidden states (H,)."""
    _, sizes = _check_params("rnn_forward", params, _RNN)
    X_seq, h_t = _check("rnn_forward", sizes, X_seq=(X_seq, "T, I"), h0=(h0, "H"))

    states = []
    for x_t in X_seq:
        h_t = rnn_cell_step(x_t, h_t, params)
        states.append(h_t)
    return states


def rnn_backward(
    X_seq: Array, h0: Array, params: Params, dh: Array | Sequence[Array]
) -> tuple[Array, Array, dict[str, Array]]:
    """Backpropagate through time in the basic RNN.

    Compare the way back with the LSTM's: ``dh_prev = W_hhᵀ (dh ∘ (1 - h²))`` is a slope and a
    matrix in every step, and there is no other way.

    Parameters
    ----------
    X_seq, h0, params
        As given to `rnn_forward`.
    dh : array (T, H), or a list of T arrays (H,)
        ∂L/∂h_t for each step: only what the loss takes from ``h_t`` directly.

    Returns
    -------
    dX_seq : array (T, I)
    dh0 : array (H,)
    dparams : dict
        One gradient for each of ``W_xh W_hh b_h``, in its shape.
    """
    p, sizes = _check_params("rnn_backward", params, _RNN)
    X_seq, h0 = _check("rnn_backward", sizes, X_seq=(X_seq, "T, I"), h0=(h0, "H"))
    (dh,) = _check("rnn_backward", {**sizes, "T": len(X_seq)}, dh=(dh, "T, H"))

    h = [h0, *rnn_forward(X_seq, h0, params)]  # T + 1 states: step t leads from h[t] to h[t + 1]
    dh_t, dX_rows = np.zeros_like(h0), []
    dW_xh, dW_hh, db_h = (np.zeros_like(p[name]) for name in _RNN)
    for t in reversed(range(len(X_seq))):
        dz = (dh[t] + dh_t) * (1 - h[t + 1] ** 2)
        dW_xh = dW_xh + np.outer(dz, X_seq[t])
        dW_hh = dW_hh + np.outer(dz, h[t])
        db_h = db_h + dz
        dX_rows.append(p["W_xh"].T @ dz)
        dh_t = p["W_hh"].T @ dz
    dparams = {"W_xh": dW_xh, "W_hh": dW_hh, "b_h": db_h.reshape(np.shape(params["b_h"]))}
    return np.reshape(dX_rows[::-1], X_seq.shape), dh_t, dparams


# The checks, kept out of the way of the equations. A layout names the axes by letter.
_LSTM = {name: "H, H+I" for name in ("Wf", "Wi", "WC", "Wo")}
_LSTM |= {name: "H or H, 1" for name in ("bf", "bi", "bC", "bo")}
_RNN = {"W_xh": "H, I", "W_hh": "H, H", "b_h": "H or H, 1"}


def _check(owner: str, sizes: Mapping[str, int], **arguments: tuple[Any, str]) -> list[Array]:
    """Return each ``name=(value, layout)`` as an array of numbers; letters in sizes are fixed."""
    arrays = []
    for name, (value, layout) in arguments.items():
        try:
            array = np.asarray(value)
        except ValueError:
            raise ValueError(
                f"{owner}: {name} is ragged; expected {_rule(layout, sizes)}"
            ) from None
        if array.shape == (0,) and layout.startswith("T, "):  # an empty list of rows
            array = np.zeros((0, sizes.get(layout[3:], 0)))
        if not any(_fits(array.shape, axes, sizes) for axes in layout.split(" or ")):
            came = f"shape {array.shape}; expected"
            raise ValueError(f"{owner}: {name} has {came} {_rule(layout, sizes)}")
        if array.dtype.kind not in "buifc":
            came = f"dtype {array.dtype}; expected numbers"
            raise ValueError(f"{owner}: {name} has {came} {_rule(layout, sizes)}")
        arrays.append(array if array.dtype.kind in "fc" else array.astype(np.float64))
    return arrays


def _fits(shape: tuple[int, ...], axes: str, sizes: Mapping[str, int]) -> bool:
    letters = axes.split(", ")
    return len(shape) == len(letters) and all(
        size == (1 if letter == "1" else sizes.get(letter, size))
        for size, letter in zip(shape, letters, strict=True)
    )


def _rule(layout: str, sizes: Mapping[str, int]) -> str:
    """Write a layout as a message shows it: ``(T, I=3)``, ``(H=4,) or (H=4, 1)``."""
    options = []
    for axes in layout.split(" or "):
        words = [f"{axis}={sizes[axis]}" if axis in sizes else axis for axis in axes.split(", ")]
        options.append(f"({', '.join(words)}{',' if len(words) == 1 else ''})")
    return " or ".join(options)


def _check_params(
    owner: str, params: Params, layouts: Mapping[str, str]
) -> tuple[dict[str, Array], dict[str, int]]:
    """Return the arrays that the layouts name, biases flat, and the sizes by letter."""
    missing = [name for name in layouts if name not in params]
    if missing:
        raise ValueError(
            f"{owner}: params has no {' '.join(missing)}; expected {' '.join(layouts)}"
        )
    first, layout = next(iter(layouts.items()))
    (array,) = _check(owner, {}, **{first: (params[first], layout)})
    sizes = dict(zip(layout.split(", "), array.shape, strict=True))
    sizes.setdefault("I", sizes.get("H+I", 0) - sizes["H"])
    if sizes["I"] < 0:
        raise ValueError(f"{owner}: {first} has shape {array.shape}; expected ({layout})")
    arrays = _check(owner, sizes, **{name: (params[name], layouts[name]) for name in layouts})
    flat = [
        array[:, 0] if layout == "H or H, 1" and array.ndim == 2 else array
        for array, layout in zip(arrays, layouts.values(), strict=True)
    ]
    return dict(zip(layouts, flat, strict=True)), sizes


def _check_output_layer(owner: str, h_states: Any, W_hy: Any, b_y: Any) -> list[Array]:
    (W_hy,) = _check(owner, {}, W_hy=(W_hy, "O, H"))
    sizes = {} if len(h_states) else {"H": W_hy.shape[1]}  # an empty list does not tell H
    (h_states,) = _check(owner, sizes, h_states=(h_states, "T, H"))
    (W_hy,) = _check(owner, {"H": h_states.shape[1]}, W_hy=(W_hy, "O, H"))
    (b_y,) = _check(owner, {"O": len(W_hy)}, b_y=(b_y, "O"))
    return [h_states, W_hy, b_y]
