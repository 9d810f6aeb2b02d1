"""A language model: what comes next in a text, one character or byte at a time.

    token ─ Embedding ─ (dropout) ─ LSTM ─ (dropout) ─ Linear ─ logits of the next token

Trained by truncated backpropagation through time over contiguous streams, with the state carried
from batch to batch (Mikolov et al. 2010; Graves 2013, arXiv:1308.0850, sections 2 and 3).
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lstmkit import losses, optimizers, store, training
from lstmkit.data import TextStreams
from lstmkit.layers import LSTM, Dropout, Embedding, Linear, Sequential
from lstmkit.sampling import choose
from lstmkit.shapes import Array, InputError, floating_dtype, one_of, positive_integer, real_number
from lstmkit.tasks.text import Documents, Passages, Text, Vocabulary, cut, documents, tokens

_OWNER = "LanguageModel"
_DEFAULT_STEPS = 1000
_EMBEDDING_SIZE = 32
_WARMUP = 0.02  # of the run
_LSTM_ARGUMENTS = (
    "hidden_size num_layers dropout recurrent_dropout zoneout proj_size peepholes coupled_gates "
    "layer_norm dtype"
).split()
_ARGUMENTS = [*_LSTM_ARGUMENTS, "embedding_size", "tokens", "tied", "seed"]


class LanguageModel:
    """An LSTM that reads text, scores it in bits and writes it.

    Parameters
    ----------
    hidden_size, num_layers : int
        H and L of the LSTM.
    embedding_size : int, optional
        The width of a token's vector; 32 by default, with ``tied`` the LSTM's output size.
    tokens : {"characters", "bytes"}
        What is predicted: the characters of the training text (any other one is an error later),
        or the 256 bytes of its UTF-8 (which take any text).
    tied : bool
        Whether the output weights are the embedding (Press and Wolf 2017); the embedding size must
        then be the LSTM's output size.
    dropout : float
        Of the embeddings, of each layer's output and of the output before the logits.
    recurrent_dropout, zoneout, proj_size, peepholes, coupled_gates, layer_norm
        As in `LSTM`.
    dtype : {"float32", "float64"}
        Of weights and arithmetic.
    seed : int, optional
        Of the weights and the dropout masks; None for different ones each time.

    Attributes
    ----------
    embedding_, lstm_, head_ : Embedding, LSTM, Linear
        The layers, after `fit` or loading.
    vocabulary_ : Vocabulary
        The tokens and their numbers.
    result_ : TrainingResult
        The last `fit`: its log, and why it ended. A loaded model has none.

    Notes
    -----
    Nothing is checked before `fit`, as in scikit-learn. A text begins as if a newline stood before
    it, so the first character too is predicted, and counted.

    Examples
    --------
    >>> model = LanguageModel(hidden_size=32, seed=0)
    >>> model = model.fit("one two three " * 50, steps=2, batch_size=4, sequence_length=8)
    >>> model.vocabulary
    ' ehnortw'
    >>> len(model.generate("one ", 20, seed=1))
    20
    """

    def __init__(
        self,
        hidden_size: int = 256,
        num_layers: int = 1,
        *,
        embedding_size: int | None = None,
        tokens: str = "characters",
        tied: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        proj_size: int = 0,
        peepholes: bool = False,
        coupled_gates: bool = False,
        layer_norm: bool = False,
        dtype: str = "float32",
        seed: int | None = None,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.embedding_size = embedding_size
        self.tokens = tokens
        self.tied = tied
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = zoneout
        self.proj_size = proj_size
        self.peepholes = peepholes
        self.coupled_gates = coupled_gates
        self.layer_norm = layer_norm
        self.dtype = dtype
        self.seed = seed

    # ------------------------------ learning

    def fit(
        self,
        text: Text,
        *,
        validation: Text | float | None = None,
        vocabulary: str | None = None,
        steps: int | None = None,
        epochs: float | None = None,
        seconds: float | None = None,
        batch_size: int = 32,
        sequence_length: int = 64,
        learning_rate: float | Callable[[float], float] = 5e-3,
        optimizer: optimizers.Optimizer | None = None,
        clip_norm: float | None = 1.0,
        resume: bool = False,
        **options: Any,
    ) -> LanguageModel:
        """Learn from text, from new weights or (``resume``) from where a checkpoint stands.

        Parameters
        ----------
        text : str, bytes, or a sequence of them
            What to learn. In a sequence each is a document: the state is forgotten between them.
            Bytes only with ``tokens="bytes"``.
        validation : text as above, or float
            What to measure on but not to learn; a number is the share of ``text`` to take from
            its end, above 0 and below 1.
        vocabulary : str, optional
            The characters to know, instead of those in ``text``.
        steps, epochs, seconds
            How long, by one of the three; 1000 steps by default. With ``steps`` or ``epochs`` a
            run resumed from its checkpoint ends with the same bits as one never stopped.
        batch_size, sequence_length : int
            N streams side by side, and the steps T that gradients flow back through.
        learning_rate : float or schedule
            A number is the peak of a cosine that falls to 0 after a warm-up of 2 % of the run
            (Loshchilov and Hutter 2017); for a constant rate give ``optimizers.constant(rate)``.
        optimizer : Optimizer, optional
            Adam by default.
        clip_norm : float, optional
            Bound of the gradient's global norm (Pascanu et al. 2013).
        resume : bool
            Whether to go on from the file ``checkpoint``.
        **options
            The other arguments of `training.train`: ``checkpoint``, ``metrics``, ``progress``,
            ``validate_every``, ``patience``, ``plateau``, ...

        Returns
        -------
        LanguageModel
            Itself. After Ctrl-C too: then ``result_.reason`` is ``"interrupted"``.

        Raises
        ------
        InputError
            If an argument or one of the model's own parameters cannot be used.
        TrainingDiverged
            If the loss or a gradient becomes nan or infinite.
        """
        one_of(_OWNER, "tokens", self.tokens, ("characters", "bytes"))
        learned = documents(_OWNER, "text", text)
        held_out: Documents | None = None
        if isinstance(validation, int | float):
            learned, held_out = cut(_OWNER, learned, validation)
        elif validation is not None:
            held_out = documents(_OWNER, "validation", validation)
        if sum(map(len, learned)) < 2:
            raise InputError(f"{_OWNER}: text is empty; expected at least two characters to learn")
        known = self._choose_vocabulary(vocabulary, learned)
        chained, starts = tokens(known, _OWNER, "text", learned)
        streams = TextStreams(chained, batch_size, sequence_length, starts=starts)
        scored = None
        if held_out is not None:
            scored = Passages(*tokens(known, _OWNER, "validation", held_out))
            if not scored.count:
                raise InputError(f"{_OWNER}: validation is empty; expected text, or a larger share")

        if [steps, epochs, seconds].count(None) < 2:
            raise InputError(f"{_OWNER}: expected one of steps, epochs and seconds, not several")
        if seconds is not None:
            total = real_number(_OWNER, "seconds", seconds, 0.0, open_ends="low")
        else:
            if epochs is not None:
                real_number(_OWNER, "epochs", epochs, 0.0, open_ends="low")
                steps = max(1, round(epochs * streams.steps_per_epoch))
            steps = _DEFAULT_STEPS if steps is None else positive_integer(_OWNER, "steps", steps)
            total = float(steps)
        if not callable(learning_rate):
            peak = real_number(_OWNER, "learning_rate", learning_rate, 0.0, open_ends="low")
            learning_rate = optimizers.cosine(peak, total, warmup=_WARMUP * total)

        self._build(known)
        self.result_ = training.train(
            self,
            streams,
            losses.cross_entropy,
            optimizer=optimizer or optimizers.adam(),
            learning_rate=learning_rate,
            steps=steps,
            seconds=seconds,
            seed=int(np.random.default_rng(self.seed).integers(2**32)),
            clip_norm=clip_norm,
            validation=scored,
            resume=resume,
            about={
                "kind": "LanguageModel",
                "config": self.config,
                # What a resumed run must have in common with the first start; its length may grow.
                "run": {
                    "text": hashlib.sha256(chained.tobytes() + starts.tobytes()).hexdigest(),
                    "batch_size": batch_size,
                    "sequence_length": sequence_length,
                    "unit": "steps" if seconds is None else "seconds",
                },
            },
            **options,
        )
        return self

    def _choose_vocabulary(self, given: str | None, learned: Documents) -> Vocabulary:
        if self.tokens == "bytes":
            if given is not None:
                raise InputError(
                    f'{_OWNER}: vocabulary is given; expected None with tokens="bytes"'
                )
            return Vocabulary()
        if given is not None:
            return Vocabulary(given)
        if isinstance(learned[0], bytes):
            raise InputError(f'{_OWNER}: text is bytes; expected str (or tokens="bytes")')
        return Vocabulary("".join(sorted(set().union(*map(str, learned)))))

    def _build(self, vocabulary: Vocabulary) -> None:
        """Make the layers, with new weights."""
        seed = self.seed
        if seed is not None:
            seed = positive_integer(_OWNER, "seed", seed, least=0)
        rng = np.random.default_rng(seed)
        size, output_size = self._sizes()
        self.vocabulary_ = vocabulary
        self.embedding_ = Embedding(len(vocabulary), size, dtype=self.dtype, seed=rng)
        self.lstm_ = LSTM(size, **self._lstm_arguments(), seed=rng)
        self.head_ = Linear(output_size, len(vocabulary), dtype=self.dtype, seed=rng)
        if self.tied:
            self.head_.parameters["weight"] = self.embedding_.parameters["weight"]
        self._dropout = Dropout(self.dropout)

    def _sizes(self) -> tuple[int, int]:
        """Return the width of a token's vector and that of the LSTM's output."""
        output_size = self.proj_size or self.hidden_size
        size = self.embedding_size
        if size is None:
            size = output_size if self.tied else _EMBEDDING_SIZE
        if self.tied and size != output_size:
            raise InputError(
                f"{_OWNER}: embedding_size is {size}; expected {output_size}, the LSTM's output "
                "size, since the weights are tied (leave embedding_size out)"
            )
        return positive_integer(_OWNER, "embedding_size", size), output_size

    def _lstm_arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _LSTM_ARGUMENTS}

    def _shapes(self, vocabulary: Vocabulary) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter; nothing is made."""
        size, output_size = self._sizes()
        lstm = LSTM.shapes_of(input_size=size, **self._lstm_arguments())
        shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (len(vocabulary), size)}
        shapes |= {f"lstm.{name}": shape for name, shape in lstm.items()}
        if not self.tied:
            shapes["head.weight"] = (len(vocabulary), output_size)
        return shapes | {"head.bias": (len(vocabulary),)}

    @property
    def config(self) -> dict[str, Any]:
        """The arguments and the vocabulary, in JSON values: what a file says of the model."""
        given = {name: getattr(self, name) for name in _ARGUMENTS}
        plain = {name: v.item() if isinstance(v, np.generic) else v for name, v in given.items()}
        return plain | {"dtype": np.dtype(self.dtype).name, "vocabulary": self.vocabulary}

    @classmethod
    def from_parameters(cls, config: dict[str, Any], parameters: dict[str, Array]) -> LanguageModel:
        """Make a model from its `config` and arrays, which are copied.

        Raises
        ------
        InputError
            If an argument is missing or unknown, or an array's name, shape or dtype disagrees.
        """
        if set(config) != {*_ARGUMENTS, "vocabulary"}:
            strange = sorted(set(config) ^ {*_ARGUMENTS, "vocabulary"})
            raise InputError(f"{_OWNER}: config lacks, or should not have, {', '.join(strange)}")
        one_of(_OWNER, "tokens", config["tokens"], ("characters", "bytes"))
        if (config["tokens"] == "bytes") != (config["vocabulary"] is None):
            raise InputError(f"{_OWNER}: config has a vocabulary of bytes, or none of characters")
        model = cls(**{name: config[name] for name in _ARGUMENTS})
        vocabulary = Vocabulary(config["vocabulary"])
        dtype = floating_dtype(_OWNER, model.dtype)
        expected = {name: f"{dtype} {shape}" for name, shape in model._shapes(vocabulary).items()}
        found = {name: f"{array.dtype} {array.shape}" for name, array in parameters.items()}
        for name in sorted({*expected, *found}):
            has, wants = found.get(name, "nothing"), expected.get(name, "nothing")
            if has != wants:
                raise InputError(f"{_OWNER}: {name} is {has}; expected {wants}")
        model._build(vocabulary)
        for name, array in model.parameters.items():
            array[...] = parameters[name]
        return model

    def _fitted(self) -> LanguageModel:
        if not hasattr(self, "vocabulary_"):
            raise InputError(f"{_OWNER}: the model knows nothing yet; call fit or lk.load first")
        return self

    @property
    def vocabulary(self) -> str | None:
        """The characters that the model knows, in the order of their numbers; None for bytes."""
        return self._fitted().vocabulary_.characters

    @property
    def parameters(self) -> dict[str, Array]:
        """The weights by name, shared: what is changed in place is what the model uses."""
        self._fitted()
        named = _prefixed("embedding", self.embedding_.parameters)
        named |= _prefixed("lstm", self.lstm_.parameters)
        named |= _prefixed("head", self.head_.parameters)
        if self.tied:
            del named["head.weight"]
        return named

    @property
    def network(self) -> Sequential:
        """Its layers as a chain, tokens to logits: to stream, or to write for other libraries.

        The chain holds the model's own arrays. What it lacks is the vocabulary.
        """
        self._fitted()
        return Sequential({"embedding": self.embedding_, "lstm": self.lstm_, "head": self.head_})

    # ------------------------------ the network (training.Model)

    def __call__(
        self, inputs: Array, state: Any = None, lengths: Any = None, reset: Any = None
    ) -> tuple[Array, Any]:
        """Logits of every next token: tokens (N, T) → (N, T, V), and the state after them."""
        self._fitted()
        y, state = self.lstm_(self.embedding_(inputs), state, lengths, reset)
        return self.head_(y), state

    def forward(
        self,
        inputs: Array,
        state: Any = None,
        lengths: Any = None,
        reset: Any = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Any, Any]:
        """Return the logits, the state and the tape; with a rng, dropout is on."""
        x, embedding = self.embedding_.forward(inputs)
        x, dropped_x = self._dropout.forward(x, rng)
        y, state, lstm = self.lstm_.forward(x, state, lengths, reset, rng)
        y, dropped_y = self._dropout.forward(y, rng)
        logits, head = self.head_.forward(y)
        return logits, state, (embedding, dropped_x, lstm, dropped_y, head)

    def backward(self, tape: Any, dlogits: Array) -> dict[str, Array]:
        """Return the gradients, named like `parameters`; none flows into the initial state."""
        embedding, dropped_x, lstm, dropped_y, head = tape
        dy, dhead = self.head_.backward(head, dlogits)
        dx, _, dlstm = self.lstm_.backward(lstm, self._dropout.backward(dropped_y, dy))
        dembedding = self.embedding_.backward(embedding, self._dropout.backward(dropped_x, dx))
        if self.tied:
            dembedding["weight"] += dhead.pop("weight")
        return (
            _prefixed("embedding", dembedding) | _prefixed("lstm", dlstm) | _prefixed("head", dhead)
        )

    # ------------------------------ using what is learned

    def bits_per_character(self, text: Text) -> float:
        """Return how many bits the model needs for a character of this text, on average.

        Every character counts, the first too; in a sequence of texts each begins anew. A model
        of bytes is measured per character as well, so that the two kinds compare; given bytes, it
        is measured per byte. No text: nan.

        Long texts are scored as up to 128 rows side by side, each at least 1,024 tokens long and
        warmed on the 256 tokens before it. Against one pass from the first character to the last
        this changes the figure by less than 0.001.
        """
        known = self._fitted().vocabulary_
        scored = documents(_OWNER, "text", text)
        passages = Passages(*tokens(known, _OWNER, "text", scored))
        if not passages.count:
            return math.nan
        nats = training.evaluate(self, passages, losses.cross_entropy) * passages.count
        return float(nats) / math.log(2) / sum(map(len, scored))

    def generate(
        self,
        prompt: str = "",
        length: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> str:
        """Write what comes after the prompt.

        Parameters
        ----------
        prompt : str
            Read first, and not part of what is returned; may be empty.
        length : int
            How many characters to write.
        temperature : float
            Divides the logits: below 1 safer, above 1 wilder; at 0 always the likeliest token.
        top_k : int, optional
            Choose among the k likeliest tokens only.
        top_p : float, optional
            Choose among the fewest likeliest tokens that together have at least this probability
            (Holtzman et al. 2020, "nucleus"), after the temperature and ``top_k``.
        seed : int or numpy.random.Generator, optional
            The same seed writes the same text.

        Returns
        -------
        str
            Of exactly ``length`` characters. Each costs the same, however long the text is. Bytes
            that are not UTF-8 appear as U+FFFD.

        Raises
        ------
        InputError
            If the prompt has a character that the model does not know, or a number is out of its
            range.
        """
        return "".join(self.generate_stream(prompt, length, temperature, top_k, top_p, seed))

    def generate_stream(
        self,
        prompt: str = "",
        length: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> Iterator[str]:
        """Like `generate`, but yield each character as it is written.

        The arguments are checked, and the prompt is read, before this returns.
        """
        vocabulary = self._fitted().vocabulary_
        length = positive_integer(_OWNER, "length", length, least=0)
        real_number(_OWNER, "temperature", temperature, 0.0)
        if top_k is not None:
            positive_integer(_OWNER, "top_k", top_k)
        if top_p is not None:
            real_number(_OWNER, "top_p", top_p, 0.0, 1.0, open_ends="low")
        if seed is not None and not isinstance(seed, np.random.Generator):
            seed = positive_integer(_OWNER, "seed", seed, least=0)
        rng = np.random.default_rng(seed)
        read = vocabulary.encode(_OWNER, "prompt", prompt)
        stream = self.lstm_.stream()
        rows = self.embedding_.parameters["weight"]

        def step(token: int) -> Array:
            logits: Array = self.head_(stream.step(rows[token : token + 1]))[0]
            return logits

        logits = step(vocabulary.start)
        for token in read:
            logits = step(int(token))

        def write() -> Iterator[str]:
            nonlocal logits
            decode = vocabulary.decoder()
            left = length
            while left:
                token = choose(logits, rng, temperature, top_k, top_p)
                piece = decode(token)[:left]
                left -= len(piece)
                if piece:
                    yield piece
                if left:
                    logits = step(token)

        return write()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one safetensors file; ``lk.load(path)`` reads it."""
        store.save(path, "LanguageModel", self.config, self.parameters)


def _prefixed(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}
