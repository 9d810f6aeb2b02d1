"""Whether what a learner wrote for an exercise is right, and if not, where it first differs.

What is expected comes from `lstmkit.textbook`, on numbers that do not agree by accident: other
weights in every gate, more hidden units than inputs, states that are not zero. The learner's code
runs here, in the learner's own process, after it came to an end in one of its own; `lstmkit check`
runs a whole file there and names the mistake.
"""

from __future__ import annotations

import importlib
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstmkit import optimizers, textbook
from lstmkit.lesson.exercises import Exercise, find
from lstmkit.lesson.program import from_namespace
from lstmkit.lesson.runner import Learner, Stopped
from lstmkit.losses import cross_entropy
from lstmkit.shapes import Array, InputError

RTOL = 1e-9
I, H, T, O = 3, 5, 6, 4  # noqa: E741

NAMED = ("cell_step", "sequence", "output_layer", "backward_step", "bptt")
"""Exercises whose mistakes the checker knows by name."""
ENDED = ("Storm", "MemoryError", "RecursionError")
SECONDS = 10.0


class Verdict(NamedTuple):
    """Whether an exercise is passed.

    Attributes
    ----------
    passed : bool
    message : str
        One line that says what was tried, or why it is not passed.
    tried : bool
        Whether there was something to try: a function that is no longer the stub, and that ends.
    """

    passed: bool
    message: str
    tried: bool = True


class _Wrong(Exception):
    """The learner's function differs from what it should be; the message says how."""


class _Endless(_Wrong):
    """It came to no end; nothing else is known about it."""


Case = tuple[str, tuple[Any, ...], Any]
"""Words for the case, the arguments, and what is expected."""


def grade(exercise: Exercise, namespace: Mapping[str, Any]) -> Verdict:
    """Try the exercise's function, taken by its name from the namespace.

    Parameters
    ----------
    exercise
        Which one.
    namespace
        The learner's names, ``globals()`` for example.
    """
    name = exercise.function
    function = namespace.get(name)
    if function is None:
        return Verdict(
            False, f"there is no {name} yet; run the cell that defines it, then check", tried=False
        )
    if not callable(function):
        return Verdict(
            False, f"{name} is a {type(function).__name__}; expected a function", tried=False
        )
    if _is_stub(function, exercise):
        return Verdict(
            False,
            f"{name} is not written yet: put your lines in the place of the dots; what it should "
            "compute stands above it",
            tried=False,
        )
    try:
        cases: list[Case] = _CASES[exercise.name](np.random.default_rng(12))
        _ends(name, namespace, cases)
        for words, arguments, expected in cases:
            _try(name, function, words, arguments, expected)
    except _Wrong as wrong:
        return Verdict(False, str(wrong), tried=not isinstance(wrong, _Endless))
    return Verdict(True, f"{name} is right in all {len(cases)} cases")


def _is_stub(function: Any, exercise: Exercise) -> bool:
    """Whether the function still does what the lesson's stub does, whatever its docstring."""
    scratch: dict[str, Any] = {}
    exec(compile(exercise.stub, "the stub", "exec"), scratch)
    stub, code = scratch[exercise.function].__code__, getattr(function, "__code__", None)
    return code is not None and code.co_code == stub.co_code and code.co_names == stub.co_names


def _ends(name: str, namespace: Mapping[str, Any], cases: Sequence[Case]) -> None:
    """Call the function in a process of its own first: a loop without end must not hang this one.

    Whatever else goes wrong there is left to the calls that follow here.
    """
    calls = [{"name": name, "args": list(given), "named": {}} for _, given, _ in cases]
    try:
        with Learner(from_namespace(namespace), SECONDS) as learner:
            if name in {thing["name"] for thing in learner.load().things}:
                for outcome in learner.call(calls):
                    if outcome.failure is not None and outcome.failure.kind in ENDED:
                        raise _Endless(f"{name}: {outcome.failure}")
    except Stopped as stopped:
        raise _Endless(f"{name}: {stopped}") from None
    except (InputError, OSError):  # nothing whose source can be found, or no second process
        return


def name_mistake(exercise: Exercise, namespace: Mapping[str, Any]) -> str:
    """Say in a line which mistake the checker recognizes in the exercise's function, or nothing.

    The one door to the checker: it knows the mistakes of the step, the sequence, the output layer
    and the two backward functions by name.
    """
    if exercise.name not in NAMED:
        return ""
    later = {find(name).function for name in NAMED[NAMED.index(exercise.name) + 1 :]}
    names = {name: item for name, item in namespace.items() if name not in later}
    try:
        checker = importlib.import_module("lstmkit.lesson.checker")
        report = checker.check(names)
    except (ImportError, InputError, OSError):
        return ""
    # A crash there alone is the session's: something that did not come along.
    texts = [
        finding.text
        for finding in report.mistakes
        if finding.part == exercise.function and "crash" not in getattr(finding, "names", ())
    ]
    return str(texts[0]) if texts else ""


def _try(
    name: str, function: Callable[..., Any], words: str, arguments: tuple[Any, ...], expected: Any
) -> None:
    before = _copy(arguments)
    try:
        with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise"):
            warnings.simplefilter("ignore")
            got = function(*arguments)
    except FloatingPointError as error:
        raise _Wrong(
            f"{name}, {words}: {error}{_own_line(error)}; expected numbers: an exponential of a "
            "large number overflows"
        ) from None
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())[:200]
        raise _Wrong(
            f"{name}, {words}: raised {type(error).__name__}: {said}{_own_line(error)}"
        ) from None
    if got is None:
        raise _Wrong(
            f"{name} returns None: it is still to be written, or its last line lacks the return"
        )
    if _difference("argument", before, arguments):
        raise _Wrong(
            f"{name}, {words}: it changes its arguments in place; expected new arrays "
            "(c = c + d, not c += d)"
        )
    difference = _difference("", expected, got)
    if difference:
        raise _Wrong(f"{name}, {words}: {difference}")


def _own_line(error: BaseException) -> str:
    """Say where in the learner's code it happened: the last line that is not a library's."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = [f for f in frames if "site-packages" not in f.filename and "lstmkit" not in f.filename]
    own = own or frames[:1]
    if not own:
        return ""
    line = f": {own[-1].line}" if own[-1].line else ""
    return f" (line {own[-1].lineno}{line})"


class Named(NamedTuple):
    """Results that are called something: a tuple of (name, value)."""

    values: tuple[tuple[str, Any], ...]


def _difference(name: str, expected: Any, got: Any) -> str:
    """Say in words where what came first differs from what is expected; nothing if it does not."""
    if isinstance(expected, Named):
        names = [label for label, _ in expected.values]
        if not isinstance(got, tuple | list) or len(got) != len(names):
            many = f"{len(got)} results" if isinstance(got, tuple | list) else type(got).__name__
            return f"it returns {many}; expected {len(names)}: {', '.join(names)}"
        pairs = zip(expected.values, got, strict=True)
        found = (
            _difference(f"{label} of {name}" if name else label, value, part)
            for (label, value), part in pairs
        )
        return next((words for words in found if words), "")
    if isinstance(expected, dict):
        if not isinstance(got, Mapping):
            return f"{name} is a {type(got).__name__}; expected a dict"
        missing = [key for key in expected if key not in got]
        if missing:
            return f"{name} has no {' '.join(missing)}; expected {' '.join(expected)}"
        found = (_difference(f"{name}[{key!r}]", expected[key], got[key]) for key in expected)
        return next((words for words in found if words), "")
    if isinstance(expected, list | tuple):
        if not isinstance(got, list | tuple | np.ndarray) or len(got) != len(expected):
            size = f"length {len(got)}" if hasattr(got, "__len__") else type(got).__name__
            return f"{name or 'the result'} has {size}; expected {len(expected)}"
        labels = [f"{name} of step {k}" if name else f"step {k}" for k in range(len(expected))]
        parts = zip(labels, expected, got, strict=True)
        found = (_difference(label, want, part) for label, want, part in parts)
        return next((words for words in found if words), "")
    if expected is None or callable(expected) or isinstance(expected, np.random.Generator):
        return ""
    return _array_difference(name or "the result", np.asarray(expected), got)


def _array_difference(name: str, want: Array, got: Any) -> str:
    try:
        have = np.asarray(got, dtype=np.float64)
    except (TypeError, ValueError):
        return f"{name} is a {type(got).__name__}; expected numbers of shape {want.shape}"
    if have.shape != want.shape:
        return f"{name} has shape {have.shape}; expected {want.shape}"
    if not np.isfinite(have).all():
        return f"{name} has nan or inf; expected finite numbers"
    size = float(np.abs(want).max(initial=0.0)) if want.size else 0.0
    wrong = np.abs(have - want) > RTOL * (size or 1.0)
    if not wrong.any():
        return ""
    where = tuple(int(k) for k in np.argwhere(wrong)[0])
    place = f" at {where[0] if len(where) == 1 else where}" if where else ""
    return f"{name}{place} is {have[where]:.6g}; expected {want[where]:.6g}"


def _copy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_copy(item) for item in value)
    return value


# ------------------------------------------------------------------------------- the cases


def _weights(rng: np.random.Generator, scale: float = 1.0) -> dict[str, Array]:
    params = {f"W{gate}": scale * rng.normal(size=(H, H + I)) for gate in "fiCo"}
    return params | {f"b{gate}": rng.normal(size=H) for gate in "fiCo"}


def _case(rng: np.random.Generator, steps: int = T, scale: float = 1.0) -> tuple[Any, ...]:
    states = rng.normal(size=(2, H))
    return rng.normal(size=(steps, I)), states[0], states[1], _weights(rng, scale)


def _cell_step(rng: np.random.Generator) -> list[Case]:
    cases = []
    for words, scale in (("a random case", 1.0), ("another", 1.0), ("weights of 1000", 1000.0)):
        X, h, c, params = _case(rng, 1, scale)
        values = textbook.lstm_cell_step(X[0], h, c, params)
        cases.append((words, (X[0], h, c, params), Named(tuple(zip(_STATE, values, strict=True)))))
    return cases


_STATE = ("h_t", "c_t")


def _sequence(rng: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    for words, steps in (("six steps", T), ("one step", 1), ("no step", 0)):
        case = _case(rng, steps)
        states = [
            Named(tuple(zip(_STATE, pair, strict=True))) for pair in textbook.lstm_forward(*case)
        ]
        cases.append((words, case, states))
    return cases


def _output_layer(rng: np.random.Generator) -> list[Case]:
    h, W, b = rng.normal(size=(T, H)), rng.normal(size=(O, H)), rng.normal(size=O)
    want = textbook.lstm_output_layer(h, W, b)
    return [("an array of states", (h, W, b), want), ("a list of states", (list(h), W, b), want)]


def _loss(rng: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    for words, scale in (("a random case", 1.0), ("logits of 1000", 1000.0)):
        logits, targets = scale * rng.normal(size=(T, O)), rng.integers(0, O, T)
        value, gradient = cross_entropy(logits, targets)
        want = Named((("the loss", value), ("dlogits", gradient)))
        cases.append((words, (logits, targets), want))
    return cases


def _backward_step(rng: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    names = ("dx_t", "dh_prev", "dc_prev", "dparams")
    for words in ("a random case", "another", "no gradient in h_t", "no gradient in c_t"):
        X, h, c, params = _case(rng, 1)
        dh, dc = rng.normal(size=(2, H))
        if words.startswith("no"):
            dh, dc = (dh * 0, dc) if "h_t" in words else (dh, dc * 0)
        arguments = X[0], h, c, params, dh, dc
        values = textbook.lstm_cell_step_backward(*arguments)
        cases.append((words, arguments, Named(tuple(zip(names, values, strict=True)))))
    return cases


def _bptt(rng: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    names = ("dX_seq", "dh0", "dc0", "dparams")
    for words, steps, last in (
        ("one step", 1, True),
        ("six steps", T, True),
        ("dc_last is None", T, False),
    ):
        case = _case(rng, steps, 0.5)
        arguments = *case, rng.normal(size=(steps, H)), rng.normal(size=H) if last else None
        values = textbook.lstm_backward(*arguments)
        cases.append((words, arguments, Named(tuple(zip(names, values, strict=True)))))
    return cases


def _clipping(rng: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    for words, scale in (("a large norm", 100.0), ("a small norm", 1e-3), ("no gradient", 0.0)):
        grads = {"W": scale * rng.normal(size=(H, I)), "b": scale * rng.normal(size=H)}
        clipped, norm = optimizers.clip_by_global_norm(grads, 1.0)
        want = Named((("the gradients", clipped), ("the norm", norm)))
        cases.append((words, (grads, 1.0), want))
    return cases


def _training(rng: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    for words, limit in (("nothing to clip", 1e9), ("a clipped gradient", 0.1)):
        X, _, _, params = _case(rng, T, 0.5)
        params |= {"W_hy": rng.normal(size=(O, H)), "b_y": rng.normal(size=O)}
        targets, zeros = rng.integers(0, O, T), np.zeros(H)
        h = np.array([h_t for h_t, _ in textbook.lstm_forward(X, zeros, zeros, params)])
        head = params["W_hy"], params["b_y"]
        loss, dlogits = cross_entropy(textbook.lstm_output_layer(h, *head), targets)
        dh, dW, db = textbook.lstm_output_layer_backward(h, *head, dlogits)
        grads = textbook.lstm_backward(X, zeros, zeros, params, dh)[3]
        grads, _ = optimizers.clip_by_global_norm({**grads, "W_hy": dW, "b_y": db}, limit)
        new = {name: params[name] - 0.1 * grads[name] for name in params}
        want = Named((("the new params", new), ("the loss", loss)))
        cases.append((words, (params, X, targets, 0.1, limit), want))
    return cases


def _sampling(rng: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    for words, temperature in (("temperature 1", 1.0), ("temperature 0.5", 0.5)):
        params = _weights(rng, 2.0) | {
            "W_hy": 3 * rng.normal(size=(I, H)),
            "b_y": rng.normal(size=I),
        }
        want, drawn, h, c = [], 1, np.zeros(H), np.zeros(H)
        same = np.random.default_rng(5)
        for _ in range(20):
            h, c = textbook.lstm_cell_step(np.eye(I)[drawn], h, c, params)
            z = (params["W_hy"] @ h + params["b_y"]) / temperature
            e = np.exp(z - z.max())
            drawn = int(same.choice(I, p=e / e.sum()))
            want.append(drawn)
        arguments = params, 1, 20, temperature, np.random.default_rng(5)
        cases.append((words, arguments, want))
    return cases


def _basic_rnn(rng: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    for words, steps in (("six steps", T), ("one step", 1)):
        F = rng.uniform(0.1, 1.0, (steps, H))
        want = np.array([np.prod(F[t + 1 :], axis=0) for t in range(steps)])
        cases.append((words, (F,), want))
    return cases


def _transformers(rng: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    for words, steps, scale in (
        ("six positions", T, 1.0),
        ("one", 1, 1.0),
        ("scores of 1000", T, 30.0),
    ):
        Q, K, V = scale * rng.normal(size=(steps, H)), scale * rng.normal(size=(steps, H)), None
        V = rng.normal(size=(steps, I))
        want = np.empty((steps, I))
        for t in range(steps):  # each position by itself
            score = K[: t + 1] @ Q[t] / np.sqrt(H)
            a = np.exp(score - score.max())
            want[t] = a / a.sum() @ V[: t + 1]
        cases.append((words, (Q, K, V), want))
    return cases


_CASES: dict[str, Callable[[np.random.Generator], list[Case]]] = {
    "cell_step": _cell_step,
    "sequence": _sequence,
    "output_layer": _output_layer,
    "loss": _loss,
    "backward_step": _backward_step,
    "bptt": _bptt,
    "clipping": _clipping,
    "training": _training,
    "sampling": _sampling,
    "basic_rnn": _basic_rnn,
    "transformers": _transformers,
}
