"""ONNX's LSTM as its page has it, one sequence, one direction and one step at a time, in float64.

The slow twin that our node and ONNX Runtime are held against; the equations are those of
https://onnx.ai/onnx/operators/onnx__LSTM.html. `random_case` draws a node with its inputs.
"""

from __future__ import annotations

import numpy as np

FUNCTIONS = {  # name: function, default alpha, default beta (None: it takes none)
    "Sigmoid": (lambda x, a, b: 1 / (1 + np.exp(-x)), None, None),
    "Tanh": (lambda x, a, b: np.tanh(x), None, None),
    "Relu": (lambda x, a, b: np.maximum(x, 0), None, None),
    "Softsign": (lambda x, a, b: x / (1 + np.abs(x)), None, None),
    "Softplus": (lambda x, a, b: np.logaddexp(0, x), None, None),
    "LeakyRelu": (lambda x, a, b: np.where(x >= 0, x, a * x), 0.01, None),
    "ThresholdedRelu": (lambda x, a, b: np.where(x >= a, x, 0), 1.0, None),
    "Elu": (lambda x, a, b: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0))), 1.0, None),
    "HardSigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), 0.2, 0.5),
    "ScaledTanh": (lambda x, a, b: a * np.tanh(b * x), 1.0, 1.0),
    "Affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
}


def functions(attributes: dict, directions: int) -> list:
    """f, g, h of every direction; alpha and beta are taken in order by those that have one."""
    names = attributes.get("activations") or ["Sigmoid", "Tanh", "Tanh"] * directions
    alphas = list(attributes.get("activation_alpha", []))
    betas = list(attributes.get("activation_beta", []))
    made = []
    for name in names:
        known = {key.lower(): value for key, value in FUNCTIONS.items()}
        function, alpha, beta = known[name.lower()]
        if alpha is not None and alphas:
            alpha = alphas.pop(0)
        if beta is not None and betas:
            beta = betas.pop(0)
        made.append(lambda x, function=function, a=alpha, b=beta: function(x, a, b))
    return made


@np.errstate(all="ignore")
def lstm(attributes, X, W, R, B=None, sequence_lens=None, initial_h=None, initial_c=None, P=None):
    """Y, Y_h, Y_c of the node, in the layout that it asks for."""
    wide = [None if a is None else np.asarray(a, np.float64) for a in (X, W, R, B, initial_h)]
    X, W, R, B, initial_h = wide
    initial_c, P = (None if a is None else np.asarray(a, np.float64) for a in (initial_c, P))
    if attributes.get("layout", 0):
        X = X.swapaxes(0, 1)
        initial_h = None if initial_h is None else initial_h.swapaxes(0, 1)
        initial_c = None if initial_c is None else initial_c.swapaxes(0, 1)
    T, N, _ = X.shape
    D, H = R.shape[0], R.shape[2]
    act = functions(attributes, D)
    clip = attributes.get("clip", np.inf)
    Y, Y_h, Y_c = np.zeros((T, D, N, H)), np.zeros((D, N, H)), np.zeros((D, N, H))
    for d in range(D):
        f_, g_, h_ = act[3 * d : 3 * d + 3]
        Wi, Wo, Wf, Wc = W[d].reshape(4, H, -1)
        Ri, Ro, Rf, Rc = R[d].reshape(4, H, H)
        Wbi, Wbo, Wbf, Wbc, Rbi, Rbo, Rbf, Rbc = (
            np.zeros((8, H)) if B is None else B[d].reshape(8, H)
        )
        Pi, Po, Pf = np.zeros((3, H)) if P is None else P[d].reshape(3, H)
        backwards = attributes.get("direction") == "reverse" or d == 1
        for n in range(N):
            length = T if sequence_lens is None else int(sequence_lens[n])
            if length == 0:
                continue
            H_t = np.zeros(H) if initial_h is None else initial_h[d, n]
            C_t = np.zeros(H) if initial_c is None else initial_c[d, n]
            steps = range(length)
            for t in reversed(steps) if backwards else steps:
                x = X[t, n]
                i = f_(bound(Wi @ x + Ri @ H_t + Pi * C_t + Wbi + Rbi, clip))
                f = f_(bound(Wf @ x + Rf @ H_t + Pf * C_t + Wbf + Rbf, clip))
                if attributes.get("input_forget", 0):
                    f = 1 - i
                c = g_(bound(Wc @ x + Rc @ H_t + Wbc + Rbc, clip))
                C_t = f * C_t + i * c
                o = f_(bound(Wo @ x + Ro @ H_t + Po * C_t + Wbo + Rbo, clip))
                H_t = o * h_(C_t)
                Y[t, d, n] = H_t
            Y_h[d, n], Y_c[d, n] = H_t, C_t
    if attributes.get("layout", 0):
        return Y.transpose(2, 0, 1, 3), Y_h.swapaxes(0, 1), Y_c.swapaxes(0, 1)
    return Y, Y_h, Y_c


def bound(x, clip):
    return np.clip(x, -clip, clip)


def random_case(rng, *, layouts=(0, 1), names=tuple(FUNCTIONS), scale=0.7):
    """Attributes and inputs of a random node: every attribute and input is there or is missing."""
    T, N, size, H = (int(rng.integers(1, high)) for high in (7, 5, 5, 6))
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    D = 2 if direction == "bidirectional" else 1

    def maybe():
        return bool(rng.integers(2))

    def draw(*shape):
        return rng.normal(0, scale, shape).astype(np.float32)

    attributes: dict = {"hidden_size": H, "direction": direction}
    if rng.integers(3):
        attributes["layout"] = int(rng.choice(layouts))
    if maybe():
        attributes["clip"] = float(np.float32(rng.uniform(0.1, 1.5)))
    if maybe():
        attributes["input_forget"] = int(rng.integers(2))
    if maybe():
        chosen = [str(rng.choice(names)) for _ in range(3 * D)]
        attributes["activations"] = [
            (str, str.lower, str.upper)[int(rng.integers(3))](name) for name in chosen
        ]
        for which, key in ((1, "activation_alpha"), (2, "activation_beta")):
            takers = sum(FUNCTIONS[name][which] is not None for name in chosen)
            count = int(rng.integers(takers + 1))
            if count:
                attributes[key] = [float(np.float32(v)) for v in rng.uniform(0.2, 1.2, count)]
    first = attributes.get("layout", 0)
    state = (N, D, H) if first else (D, N, H)
    inputs = {
        "X": draw(N, T, size) if first else draw(T, N, size),
        "W": draw(D, 4 * H, size),
        "R": draw(D, 4 * H, H),
        "B": draw(D, 8 * H) if maybe() else None,
        "sequence_lens": rng.integers(0, T + 1, N).astype(np.int32) if maybe() else None,
        "initial_h": draw(*state) if maybe() else None,
        "initial_c": draw(*state) if maybe() else None,
        "P": draw(D, 3 * H) if maybe() else None,
    }
    return attributes, inputs
