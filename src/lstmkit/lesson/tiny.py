"""A model so small that the lesson can train it while one reads: a sentence, again and again."""

from __future__ import annotations

import numpy as np

from lstmkit import layers
from lstmkit.conventions import to_textbook
from lstmkit.losses import cross_entropy
from lstmkit.optimizers import clip_by_global_norm, global_norm
from lstmkit.sampling import choose
from lstmkit.shapes import Array
from lstmkit.textbook import LSTM, lstm_cell_step, lstm_output_layer, lstm_output_layer_backward

TEXT = "the cat sat on the mat. " * 2
HIDDEN = 16


class Tiny:
    """The textbook's LSTM and output layer on the characters of `TEXT`.

    Parameters
    ----------
    seed : int
        Of the weights.

    Attributes
    ----------
    params : dict of arrays
        The LSTM's eight, and ``W_hy (V, H)``, ``b_y (V)``.
    characters : list of int
        The text as numbers; ``X (T, V)`` are its one-hot rows but the last, ``targets (T)`` its
        characters but the first.
    """

    text = TEXT

    def __init__(self, seed: int = 0) -> None:
        self.letters = sorted(set(TEXT))
        self.characters = [self.letters.index(letter) for letter in TEXT]
        size = len(self.letters)
        self.X: Array = np.eye(size)[self.characters[:-1]]
        self.targets: Array = np.array(self.characters[1:])
        rng = np.random.default_rng(seed)
        lstm = LSTM(size, HIDDEN, seed=rng)
        lstm.bf, lstm.bi, lstm.bC, lstm.bo = (b[:, 0] for b in (lstm.bf, lstm.bi, lstm.bC, lstm.bo))
        bound = np.sqrt(6 / (size + HIDDEN))
        head = {"W_hy": rng.uniform(-bound, bound, (size, HIDDEN)), "b_y": np.zeros(size)}
        self.params: dict[str, Array] = {**lstm.params, **head}

    def gradients(self, params: dict[str, Array]) -> tuple[float, dict[str, Array]]:
        """Loss on the text, in nats, and its gradient in each of the ten arrays."""
        engine = layers.LSTM.from_textbook({k: w for k, w in params.items() if "y" not in k})
        h, _, tape = engine.forward(self.X[None])
        head = params["W_hy"], params["b_y"]
        loss, dlogits = cross_entropy(lstm_output_layer(h[0], *head), self.targets)
        dh, dW, db = lstm_output_layer_backward(h[0], *head, dlogits)
        _, _, grads = engine.backward(tape, dh[None])
        of_lstm = to_textbook({k.removesuffix("_l0"): grad for k, grad in grads.items()})
        return loss, {**of_lstm, "W_hy": dW, "b_y": db}

    def step(self, rate: float, limit: float = 5.0) -> float:
        """Take one step of gradient descent; return the loss before it."""
        loss, grads = self.gradients(self.params)
        grads, _ = clip_by_global_norm(grads, limit)
        self.params = {name: w - rate * grads[name] for name, w in self.params.items()}
        return loss

    def trained(self, steps: int = 100, rate: float = 2.0) -> Tiny:
        """Train, and return itself."""
        for _ in range(steps):
            self.step(rate)
        return self

    def gradient_norm(self, scale: float = 1.0) -> float:
        """Return the norm of the gradient where all matrices are ``scale`` times as large."""
        scaled = {k: scale * w if k.startswith("W") else w for k, w in self.params.items()}
        return global_norm(self.gradients(scaled)[1])

    def write(self, length: int, temperature: float = 0.5, feed_back: bool = True) -> str:
        """Write on from the first character; or, with the classic mistake, from it only."""
        rng, drawn = np.random.default_rng(0), self.characters[0]
        h, c, written = np.zeros(HIDDEN), np.zeros(HIDDEN), []
        for _ in range(length):
            read = drawn if feed_back else self.characters[0]
            h, c = lstm_cell_step(np.eye(len(self.letters))[read], h, c, self.params)
            drawn = choose(self.params["W_hy"] @ h + self.params["b_y"], rng, temperature)
            written.append(drawn)
        return self.decode(written)

    def decode(self, characters: list[int]) -> str:
        """Turn numbers into text."""
        return "".join(self.letters[character] for character in characters)
