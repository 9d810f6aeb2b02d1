"""Every gradient of the LSTM, proved by complex-step differentiation of its own forward pass.

For an analytic f, Im f(p + ihv) / h is the derivative along v up to O(h²), with nothing
subtracted; at h = 1e-30 it is exact to rounding (Squire & Trapp 1998). The error in a random
normal direction is as large as the error vector itself, so two directions a tensor, measured
against the tensor's own norm, leave nothing to hide in: there is no absolute tolerance.
"""

import hashlib

import numpy as np
import pytest

from lstmkit import LSTM
from lstmkit.engine import Packing

pytestmark = pytest.mark.usefixtures("twin")

STEP = 1e-30
LIMIT = 1e-9
SLOPES: dict[bytes, float] = {}  # complex numbers are the readable twin's, whichever is proved

VARIANTS = {
    "plain": {},
    "no bias": {"bias": False},
    "peepholes": {"peepholes": True},
    "coupled": {"coupled_gates": True},
    "coupled peepholes": {"coupled_gates": True, "peepholes": True},
    "layer norm": {"layer_norm": True},
    "layer norm without bias": {"layer_norm": True, "bias": False},
    "cell clip": {"cell_clip": 0.5},
    "gate clip": {"gate_clip": 0.6},
    "gate clip with peepholes": {"gate_clip": 0.6, "peepholes": True},
    "projection": {"proj_size": 2},
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "zoneout": {"zoneout": 0.3},
    "zoneout of c": {"zoneout": (0.4, 0.0)},
    "zoneout of h": {"zoneout": (0.0, 0.4)},
    "dropout between layers": {"dropout": 0.4, "num_layers": 2},
    "learned initial state": {"learn_initial_state": True},
    "stacked": {"num_layers": 3},
    "bidirectional": {"bidirectional": True},
    "relu": {"activations": ("sigmoid", "relu", "relu")},
    "hard sigmoid": {"activations": ("hard_sigmoid", "tanh", "tanh")},
    "softsign": {"activations": ("sigmoid", "softsign", "softsign")},
    "identity": {"activations": ("sigmoid", "identity", "identity")},
}

# One that is 0 everywhere among them, and numbers of each sign where the value tells the slope.
FUNCTIONS = [
    "sigmoid", "tanh", "relu", "softsign", "identity", "softplus",
    "hard_sigmoid", ("hard_sigmoid", 1 / 6, 0.5), ("hard_sigmoid", -0.4, 0.3),
    "affine", ("affine", -0.7, 0.2), ("affine", 0.0, 0.3),
    "leaky_relu", ("leaky_relu", 0.0), ("leaky_relu", 1.5),
    ("thresholded_relu", 0.0), ("thresholded_relu", 0.3), "thresholded_relu",
    ("scaled_tanh", 1.7159, 2 / 3), ("scaled_tanh", -0.8, -1.3), ("scaled_tanh", 0.0, 1.0),
    "elu", ("elu", 0.3), ("elu", 0.0),
]  # fmt: skip


class Problem:
    """A layer with random weights, a ragged batch, and a loss that sees y, h and c."""

    def __init__(
        self, config, seed, batch=3, steps=5, sizes=(4, 3), ragged=True, reset=True, state=True
    ):
        rng = np.random.default_rng(seed)
        self.config = config
        self.lstm = LSTM(*sizes, dtype="float64", seed=rng, **config)
        for array in self.lstm.parameters.values():
            array += 0.4 * rng.standard_normal(array.shape)
        cells, size = len(self.lstm.cells), self.lstm.cells[0].output_size
        self.inputs = {"x": rng.standard_normal((batch, steps, sizes[0]))}
        if state:
            self.inputs["h0"] = rng.standard_normal((cells, batch, size))
            self.inputs["c0"] = rng.standard_normal((cells, batch, sizes[1]))
        self.lengths = rng.integers(0, steps + 1, batch) if ragged else None
        self.reset = rng.random((batch, steps)) < 0.25 if reset else None
        self.weight_y = rng.standard_normal((batch, steps, self.lstm.output_size))
        self.weight_h = rng.standard_normal((cells, batch, size))
        self.weight_c = rng.standard_normal((cells, batch, sizes[1]))
        self.seed = seed

    def state(self, values):
        return (values["h0"], values["c0"]) if "h0" in values else None

    def overflows(self):
        rng = np.random.default_rng(self.seed)
        with np.errstate(all="ignore"):
            y, state, _ = self.lstm.forward(
                self.inputs["x"], self.state(self.inputs), self.lengths, self.reset, rng
            )
            return not all(np.abs(array).max() < 1e50 for array in (y, *state))

    def loss(self, values):
        """The loss at any real or complex point; the same masks every time."""
        lstm = self.lstm
        _, _, packing, reset = lstm._check(
            self.inputs["x"], self.state(self.inputs), self.lengths, self.reset
        )
        values = {name: array.astype(complex) for name, array in values.items()}
        parameters = {name: values[name] for name in lstm.parameters}
        rng = np.random.default_rng(self.seed)
        y, (h, c), _ = lstm.stack.run(
            parameters, values["x"], self.state(values), packing, reset, rng
        )
        y = packing.unpack(y)
        total = (y * self.weight_y).sum() + (h * self.weight_h).sum() + (c * self.weight_c).sum()
        return complex(total)

    def slope(self, values, name, v):
        """The derivative of the loss in a direction of one tensor: once for both twins."""
        fixed = (self.lengths, self.reset, self.weight_y, self.weight_h, self.weight_c)
        parts = [repr((self.config, self.seed, name)).encode(), v.tobytes()]
        parts += [b"" if one is None else one.tobytes() for one in (*values.values(), *fixed)]
        key = hashlib.sha256(b"|".join(parts)).digest()
        if key not in SLOPES:
            SLOPES[key] = self.loss(values | {name: values[name] + STEP * 1j * v}).imag / STEP
        return SLOPES[key]

    def gradients(self):
        rng = np.random.default_rng(self.seed)
        _, _, tape = self.lstm.forward(
            self.inputs["x"], self.state(self.inputs), self.lengths, self.reset, rng
        )
        dx, (dh0, dc0), grads = self.lstm.backward(
            tape, self.weight_y, (self.weight_h, self.weight_c)
        )
        found = {"x": dx, **grads}
        return found | ({"h0": dh0, "c0": dc0} if "h0" in self.inputs else {})

    def errors(self, elementwise=False):
        """Relative error of every tensor's gradient."""
        values = self.inputs | self.lstm.parameters
        rng = np.random.default_rng(self.seed + 1)
        found = self.gradients()
        assert list(found) == ["x", *self.lstm.parameters, *list(self.inputs)[1:]]
        errors = {}
        for name, gradient in found.items():
            assert gradient.shape == values[name].shape
            assert gradient.dtype == np.float64
            if elementwise:
                directions = np.eye(gradient.size).reshape(-1, *gradient.shape)
            else:
                directions = rng.standard_normal((2, *gradient.shape))
            missed = [self.slope(values, name, v) - (gradient * v).sum() for v in directions]
            error = np.linalg.norm(missed) / (1 if elementwise else np.sqrt(2))
            norm = np.linalg.norm(gradient)
            # A gradient that is exactly zero (nothing ran) must be matched exactly.
            errors[name] = error / norm if norm else (np.inf if error else 0.0)
        return errors


def random_config(rng):
    def chance(p):
        return bool(rng.random() < p)

    config = {
        "num_layers": int(rng.integers(1, 4)),
        "bidirectional": chance(0.4),
        "bias": chance(0.8),
        "proj_size": int(rng.integers(0, 3)),
        "peepholes": chance(0.4),
        "coupled_gates": chance(0.4),
        "layer_norm": chance(0.4),
        "cell_clip": float(rng.uniform(0.3, 2)) if chance(0.3) else None,
        "gate_clip": float(rng.uniform(0.3, 2)) if chance(0.3) else None,
        "dropout": 0.4 if chance(0.3) else 0.0,
        "recurrent_dropout": 0.4 if chance(0.3) else 0.0,
        "zoneout": (0.3 * chance(0.4), 0.2 * chance(0.4)),
        "learn_initial_state": chance(0.4),
    }
    if chance(0.3):
        chosen = rng.integers(0, len(FUNCTIONS), 3)
        config["activations"] = tuple(FUNCTIONS[k] for k in chosen)
    return config


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("state", [True, False], ids=["state given", "no state"])
def test_each_variant_alone_entry_by_entry(name, state):
    problem = Problem(VARIANTS[name], seed=sum(map(ord, name)), batch=2, steps=4, state=state)
    problem.lengths = np.array([4, 3])
    worst = problem.errors(elementwise=True)
    assert np.max([*worst.values()]) <= LIMIT, worst


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_each_activation_in_each_place(function):
    for place in range(3):
        activations = ["sigmoid", "tanh", "tanh"]
        activations[place] = function
        config = {"activations": activations, "peepholes": True, "gate_clip": 0.9}
        worst = Problem(config, seed=place, batch=2, steps=3, ragged=False).errors()
        assert np.max([*worst.values()]) <= LIMIT, (place, worst)


# The first block in every run of the tests, the others in `nox -s gradients`: 400 in all.
BLOCKS = [0, *(pytest.param(block, marks=pytest.mark.slow) for block in range(1, 16))]


def random_problem(seed):
    rng = np.random.default_rng(seed)
    config = random_config(rng)
    sizes = rng.integers(1, 6, 2).tolist()
    if config["layer_norm"]:
        # The norm of one number is 0, of two +-1, and of W x with a single feature the same for
        # every size of x: but for epsilon nothing there has a gradient, and what is left of it
        # is the rounding of terms that cancel. `test_what_layer_norm_forgets` looks at those.
        sizes = [max(sizes[0], 2), max(sizes[1], 3)]
        config["proj_size"] = 2 if config["proj_size"] else 0
    config["proj_size"] = min(config["proj_size"], sizes[1] - 1)
    shape = {
        "sizes": sizes, "batch": int(rng.integers(1, 5)), "steps": int(rng.integers(1, 7)),
        "ragged": bool(rng.random() < 0.7), "reset": bool(rng.random() < 0.4),
        "state": bool(rng.random() < 0.5),
    }  # fmt: skip
    problem = Problem(config, seed, **shape)
    if problem.overflows():  # gates without a bound can make a cell that grows at every step
        problem = Problem({**config, "gate_clip": 2.0}, seed, **shape)
    return problem


@pytest.mark.parametrize("block", BLOCKS)
def test_random_combinations_shapes_and_lengths(block):
    for k in range(25):
        problem = random_problem(1000 * block + k)
        worst = problem.errors()
        assert np.max([*worst.values()]) <= LIMIT, (problem.lstm, problem.lengths, worst)


@pytest.mark.parametrize(
    ("sizes", "proj_size"), [((1, 4), 0), ((3, 2), 0), ((3, 4), 1), ((1, 2), 1)]
)
def test_what_layer_norm_forgets(sizes, proj_size):
    """Where a gradient is 0 but for epsilon, its error is small beside what cancels in it."""
    config = {"layer_norm": True, "proj_size": proj_size, "bidirectional": True, "num_layers": 2}
    problem = Problem(config, seed=8, sizes=sizes)
    scale = max(np.linalg.norm(gradient) for gradient in problem.gradients().values())
    for name, error in problem.errors().items():
        gradient = problem.gradients()[name]
        assert error * np.linalg.norm(gradient) <= 1e-13 * scale, name


def test_the_proof_sees_a_wrong_gradient():
    """A defect of one part in a million in one entry is far above the limit."""
    problem = Problem({}, seed=5)
    right = problem.gradients()

    def wrong():
        bent = {name: array.copy() for name, array in right.items()}
        bent["weight_hh_l0"].flat[3] *= 1 + 1e-6
        return bent

    problem.gradients = wrong
    assert problem.errors(elementwise=True)["weight_hh_l0"] > LIMIT
    assert isinstance(problem.lstm._check(problem.inputs["x"], None, None, None)[2], Packing)


def test_without_a_rng_the_gradient_is_that_of_inference():
    problem = Problem({"zoneout": 0.3, "recurrent_dropout": 0.3}, seed=3)
    x, state = problem.inputs["x"], problem.state(problem.inputs)
    y, _, _ = problem.lstm.forward(x, state, problem.lengths, problem.reset)
    np.testing.assert_array_equal(y, problem.lstm(x, state, problem.lengths, problem.reset)[0])
