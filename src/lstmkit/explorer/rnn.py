"""The basic RNN as a language model: what the explorer shows beside an LSTM.

    token ─ Embedding ─ h = tanh(W x + U h' + b) ─ Linear ─ logits of the next token

The same embedding, output layer and training as `LanguageModel`, so that the recurrence alone
differs (Elman 1990, Finding structure in time, Cognitive Science 14).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from lstmkit import losses, optimizers, store, training
from lstmkit.basic_rnn import BasicRNN
from lstmkit.data import TextStreams
from lstmkit.layers import Embedding, Linear
from lstmkit.shapes import Array, InputError, one_of, positive_integer, real_number
from lstmkit.tasks.text import Text, Vocabulary, documents, tokens

_OWNER = "RNNLanguageModel"
_CONFIG = {"hidden_size", "embedding_size", "tokens", "vocabulary"}


class RNNLanguageModel:
    """A basic RNN, `lstmkit.basic_rnn.BasicRNN`, that predicts the next token of a text.

    Parameters
    ----------
    hidden_size, embedding_size : int
        H, and the width of a token's vector.
    tokens : {"characters", "bytes"}
        As in `LanguageModel`.
    seed : int, optional
        Of the weights.

    Examples
    --------
    >>> rnn = RNNLanguageModel(hidden_size=8, seed=0).fit("one two " * 40, steps=2, batch_size=2)
    >>> sorted(rnn.parameters)
    ['bias', 'embedding.weight', 'head.bias', 'head.weight', 'weight_hh', 'weight_ih']
    """

    def __init__(
        self,
        hidden_size: int = 256,
        *,
        embedding_size: int = 32,
        tokens: str = "characters",
        seed: int | None = None,
    ) -> None:
        self.hidden_size = positive_integer(_OWNER, "hidden_size", hidden_size)
        self.embedding_size = positive_integer(_OWNER, "embedding_size", embedding_size)
        self.tokens = str(one_of(_OWNER, "tokens", tokens, ("characters", "bytes")))
        self.seed = seed

    def fit(
        self,
        text: Text,
        *,
        vocabulary: str | None = None,
        steps: int | None = None,
        seconds: float | None = None,
        batch_size: int = 32,
        sequence_length: int = 64,
        learning_rate: float = 5e-3,
        clip_norm: float = 1.0,
        **options: Any,
    ) -> RNNLanguageModel:
        """Learn from text, as `LanguageModel.fit` does; 1000 steps if nothing else is said.

        Parameters
        ----------
        text : str, bytes, or a sequence of them
            What to learn; in a sequence each is a document.
        vocabulary : str, optional
            The characters to know, in their order: give an LSTM's ``vocabulary`` to compare.
        steps, seconds
            How long, by one of the two.
        batch_size, sequence_length, learning_rate, clip_norm
            As in `LanguageModel.fit`.
        **options
            The other arguments of `lstmkit.training.train`.

        Returns
        -------
        RNNLanguageModel
            Itself.

        Raises
        ------
        InputError
            If an argument cannot be used.
        """
        learned = documents(_OWNER, "text", text)
        if sum(map(len, learned)) < 2:
            raise InputError(f"{_OWNER}: text is empty; expected at least two characters to learn")
        if vocabulary is None and self.tokens == "characters":
            vocabulary = "".join(sorted(set().union(*map(str, learned))))
        self._build(Vocabulary(vocabulary))
        chained, starts = tokens(self.vocabulary_, _OWNER, "text", learned)
        streams = TextStreams(chained, batch_size, sequence_length, starts=starts)
        if steps is None and seconds is None:
            steps = 1000
        peak = real_number(_OWNER, "learning_rate", learning_rate, 0.0, open_ends="low")
        total = float(steps or 0) if seconds is None else float(seconds)
        training.train(
            self,
            streams,
            losses.cross_entropy,
            optimizer=optimizers.adam(),
            learning_rate=optimizers.cosine(peak, total, warmup=0.02 * total),
            steps=steps,
            seconds=seconds,
            clip_norm=clip_norm,
            **options,
        )
        return self

    def _build(self, vocabulary: Vocabulary) -> None:
        rng = np.random.default_rng(self.seed)
        self.vocabulary_ = vocabulary
        self._embedding = Embedding(len(vocabulary), self.embedding_size, seed=rng)
        self._head = Linear(self.hidden_size, len(vocabulary), seed=rng)
        self._rnn = BasicRNN(self.embedding_size, self.hidden_size, seed=rng)
        self.parameters: dict[str, Array] = {
            "embedding.weight": self._embedding.parameters["weight"],
            **self._rnn.parameters,
            "head.weight": self._head.parameters["weight"],
            "head.bias": self._head.parameters["bias"],
        }

    @property
    def vocabulary(self) -> str | None:
        """The characters, in the order of their numbers; None for bytes."""
        return self._fitted().vocabulary_.characters

    def _fitted(self) -> RNNLanguageModel:
        if not hasattr(self, "vocabulary_"):
            raise InputError(f"{_OWNER}: the model knows nothing yet; call fit or load first")
        return self

    # ------------------------------ the network (training.Model)

    def __call__(
        self, inputs: Array, state: Any = None, lengths: Any = None, reset: Any = None
    ) -> tuple[Array, Any]:
        """Logits of every next token: tokens (N, T) → (N, T, V), and the state after them."""
        logits, state, _ = self.forward(inputs, state, lengths, reset)
        return logits, state

    def forward(
        self,
        inputs: Array,
        state: Any = None,
        lengths: Any = None,
        reset: Any = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Any, Any]:
        """Return the logits, the state and the tape; ``lengths`` is not used."""
        self._fitted()
        x, rows = self._embedding.forward(inputs)
        y, state, tape = self._rnn.forward(x, state, reset)
        logits, head = self._head.forward(y)
        return logits, state, (rows, tape, head)

    def backward(self, tape: Any, dlogits: Array) -> dict[str, Array]:
        """Return the gradients, named like `parameters`; none flows into the initial state."""
        return self.backward_input(tape, dlogits)[1]

    def backward_input(self, tape: Any, dlogits: Array) -> tuple[Array, dict[str, Array]]:
        """As `backward`, with the gradient in the embedded input (N, T, embedding_size) first."""
        rows, recurrent, head = tape
        dy, dhead = self._head.backward(head, dlogits)
        dx, _, grads = self._rnn.backward(recurrent, dy)
        return dx, {
            "embedding.weight": self._embedding.backward(rows, dx)["weight"],
            **grads,
            "head.weight": dhead["weight"],
            "head.bias": dhead["bias"],
        }

    # ------------------------------ files

    @property
    def config(self) -> dict[str, Any]:
        """What a file says of the model, in JSON values."""
        return {
            "hidden_size": self.hidden_size,
            "embedding_size": self.embedding_size,
            "tokens": self.tokens,
            "vocabulary": self.vocabulary,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one safetensors file; `RNNLanguageModel.load` reads it."""
        store.save(path, _OWNER, self.config, self._fitted().parameters)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RNNLanguageModel:
        """Open what `save` wrote.

        Raises
        ------
        InputError
            If the file is damaged or holds something else.
        """
        kind, config, arrays = store.load(path)
        if kind != _OWNER:
            raise InputError(f"{_OWNER}: {str(path)!r} holds a {kind!r}; expected an {_OWNER}")
        if set(config) != _CONFIG:
            raise InputError(f"{_OWNER}: {str(path)!r} has another config; take another copy of it")
        vocabulary = config.pop("vocabulary")
        model = cls(**config)
        model._build(Vocabulary(vocabulary))
        for name in sorted({*model.parameters, *arrays}):
            has = arrays[name].shape if name in arrays else "nothing"
            wants = model.parameters[name].shape if name in model.parameters else "nothing"
            if has != wants:
                raise InputError(f"{_OWNER}: {name} is {has}; expected {wants}")
            model.parameters[name][...] = arrays[name]
        return model
