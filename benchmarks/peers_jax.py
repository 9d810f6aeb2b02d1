"""JAX: `jax.lax.scan` under `jax.jit`, the documented way to write a recurrent network.

Best case for JAX: the input is projected for all steps at once and is time first already; the gates
stand in the order i, f, o, g so that one σ serves three; in inference the weights are constants of
the compiled program; calls run in the caller's thread (`jax_cpu_enable_async_dispatch` off), which
makes a step several times faster. Configurations of the scan that enter, the fastest is timed:
`unroll` 1 and 2 and, in training, `_split_transpose` (the weights' gradient after the loop).
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
from grid import STEPS_CHECKED, Arrays, Contender, Problem
from jax import numpy as jnp

NAME = "JAX"
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_cpu_enable_async_dispatch", False)
ORDER = (0, 1, 3, 2)  # i, f, g, o ↔ i, f, o, g
STACKED = {"weight_ih", "weight_hh", "bias", "norm_ih_gain", "norm_hh_gain"}
EPSILON = 1e-5


def versions() -> dict[str, str]:
    return {"jax": jax.__version__}


def reorder(array: np.ndarray) -> np.ndarray:
    gates = array.reshape(4, -1, *array.shape[1:])
    return np.ascontiguousarray(gates[list(ORDER)]).reshape(array.shape)


def weights(problem: Problem) -> list[list[dict[str, jax.Array]]]:
    """[layer][direction]; matrices transposed, as the products need them."""
    work = problem.work

    def convert(name: str, array: np.ndarray) -> jax.Array:
        array = reorder(array) if name in STACKED else array
        return jnp.asarray(array.T.copy() if name in ("weight_ih", "weight_hh") else array.copy())

    return [
        [
            {name: convert(name, array) for name, array in problem.weights(layer, d).items()}
            for d in range(work.directions)
        ]
        for layer in range(work.layers)
    ]


def norm(a: jax.Array, gain: jax.Array) -> jax.Array:
    centred = a - a.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + EPSILON) * gain


def advance(w: dict, state: tuple, given: tuple) -> tuple[tuple, jax.Array]:
    """One step: given are the projected input and, with zoneout, what c and h keep."""
    (h, c), (z, *kept) = state, given
    hidden = h.shape[1]
    product = h @ w["weight_hh"]
    z = z + (norm(product, w["norm_hh_gain"]) if "norm_hh_gain" in w else product)
    z_i, z_f, z_o, z_g = (z[:, k * hidden : (k + 1) * hidden] for k in range(4))
    if "peephole" in w:
        z_i, z_f = z_i + w["peephole"][0] * c, z_f + w["peephole"][1] * c
    new = jax.nn.sigmoid(z_f) * c + jax.nn.sigmoid(z_i) * jnp.tanh(z_g)
    c = jnp.where(kept[0], c, new) if kept else new
    if "peephole" in w:
        z_o = z_o + w["peephole"][2] * c
    seen = norm(c, w["norm_c_gain"]) + w["norm_c_shift"] if "norm_c_gain" in w else c
    new = jax.nn.sigmoid(z_o) * jnp.tanh(seen)
    h = jnp.where(kept[1], h, new) if kept else new
    return (h, c), h


def project(w: dict, x: jax.Array) -> jax.Array:
    z = x @ w["weight_ih"]
    return (norm(z, w["norm_ih_gain"]) if "norm_ih_gain" in w else z) + w["bias"]


def forward(layers: list, x: jax.Array, kept: tuple = (), **scan: object) -> jax.Array:
    """X (T, N, I) → y (T, N, D·H)."""
    for layer in layers:
        outputs = []
        for d, w in enumerate(layer):
            zeros = jnp.zeros((x.shape[1], w["weight_hh"].shape[0]), x.dtype)
            given = (project(w, x), *kept)
            step = partial(advance, w)
            _, y = jax.lax.scan(step, (zeros, zeros), given, reverse=bool(d), **scan)
            outputs.append(y)
        x = jnp.concatenate(outputs, axis=-1) if len(outputs) > 1 else outputs[0]
    return x


def contenders(problem: Problem) -> list[Contender]:
    kind = problem.work.kind
    if kind == "step":
        return [_step(problem)]
    if kind == "sequence":
        return [_sequence(problem, unroll=n) for n in (1, 2)]
    ways = ({"unroll": 1}, {"unroll": 2}, {"unroll": 1, "_split_transpose": True})
    return [_train(problem, **way) for way in ways]


def _step(problem: Problem) -> Contender:
    work, ((w,),) = problem.work, weights(problem)
    x = problem.x[:, 0].copy()

    @partial(jax.jit, donate_argnums=(1,))
    def step(x: jax.Array, state: tuple) -> tuple:
        return advance(w, state, (project(w, x),))[0]

    def zeros() -> tuple:
        shape = (work.batch, work.hidden_size)
        return jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.float32)

    state = [zeros()]

    def call() -> jax.Array:
        state[0] = step(x, state[0])
        return state[0][0].block_until_ready()

    def outputs() -> Arrays:
        state[0] = zeros()
        return {"y": np.stack([np.array(call()) for _ in range(STEPS_CHECKED)])}

    return Contender("jit, state donated", call, outputs)


def _sequence(problem: Problem, **scan: object) -> Contender:
    layers = weights(problem)
    x = jnp.asarray(problem.x.swapaxes(0, 1).copy())
    run = jax.jit(lambda x: forward(layers, x, **scan))

    def call() -> jax.Array:
        return run(x).block_until_ready()

    return Contender(f"scan, {scan}", call, lambda: {"y": np.asarray(call()).swapaxes(0, 1)})


def _train(problem: Problem, **scan: object) -> Contender:
    work, layers = problem.work, weights(problem)
    x, dy = (jnp.asarray(a.swapaxes(0, 1).copy()) for a in (problem.x, problem.dy))
    rates = problem.lstm.cells[0].zoneout if work.variant == "zoneout" else ()

    def differentiate(layers: list, x: jax.Array, dy: jax.Array, kept: tuple) -> tuple:
        y, pull = jax.vjp(lambda layers, x: forward(layers, x, kept, **scan), layers, x)
        return y, *pull(dy)

    def drawing(layers: list, x: jax.Array, dy: jax.Array, key: jax.Array) -> tuple:
        shape = (work.steps, work.batch, work.hidden_size)
        key, *keys = jax.random.split(key, 1 + len(rates))
        pairs = zip(keys, rates, strict=True)
        kept = tuple(jax.random.bernoulli(k, rate, shape) for k, rate in pairs)
        return *differentiate(layers, x, dy, kept), key

    train, given = jax.jit(drawing), jax.jit(differentiate)
    key = [jax.random.key(0, impl="rbg")]  # several times faster on a CPU than the default

    def call() -> object:
        *found, key[0] = train(layers, x, dy, key[0])
        return jax.block_until_ready(found)

    def outputs() -> Arrays:
        masks = tuple(jnp.asarray(mask) for mask in problem.masks) if rates else ()
        y, gradients, dx = given(layers, x, dy, masks)
        y, dx = (np.asarray(a).swapaxes(0, 1) for a in (y, dx))
        if problem.lengths is not None:  # padded: dy is zero past the ends
            y = y * problem.real[:, :, None]
        found = {"y": y, "dx": dx}
        for k, (layer,) in enumerate(gradients):
            for name, gradient in layer.items():
                array = np.asarray(gradient)
                array = array.T if name in ("weight_ih", "weight_hh") else array
                found[f"{name}_l{k}"] = reorder(array) if name in STACKED else array
        return found

    return Contender(f"scan, {scan}", call, outputs)
