"""The main job: train a language model on text, and say honestly how good it is.

The text is parted three ways by whole files: to train on, to draw the validation curve with, and
to hold out for the figure that stands beside those of gzip, bzip2 and xz on the same bytes.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import time
import tokenize
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lstmkit import corpus
from lstmkit.corpus import Document
from lstmkit.layers import LSTM
from lstmkit.shapes import InputError
from lstmkit.tasks.language_model import LanguageModel

# What `lstmkit demo` trains, and how; chosen for a minute on two cores. Layer normalization takes a
# fifth more time a token and needs half as many tokens for the same figure.
MODEL: dict[str, Any] = {
    "hidden_size": 256,
    "num_layers": 1,
    "embedding_size": 64,
    "layer_norm": True,
    "tokens": "bytes",  # so that the model takes any text later
}
TRAINING: dict[str, Any] = {
    "batch_size": 16,
    "sequence_length": 48,
    "learning_rate": 1.2e-2,  # the peak of a cosine over the run
    "clip_norm": 1.0,
}
HELD_OUT, VALIDATION = 300_000, 30_000  # characters, at most; and at most a tenth of the text
SAMPLE: dict[str, Any] = {"length": 700, "temperature": 0.7}

_LEAST_CHARACTERS = 200


class Parts(NamedTuple):
    """The documents to train on, to validate on and to hold out."""

    train: list[Document]
    validation: list[Document]
    held_out: list[Document]


class Outcome(NamedTuple):
    """What a trained model reached.

    ``bits`` are per character of the held-out text, for lstmkit and for each compressor by name;
    ``tokenized`` is the share of the sample that `tokenizable` gives, None where the text is not
    Python.
    """

    bits: dict[str, float]
    sample: str
    tokenized: float | None


def divide(documents: Sequence[Document]) -> Parts:
    """Part documents three ways, always in the same way, so that runs can be compared.

    Raises
    ------
    InputError
        If there are fewer than 200 characters in all.
    """
    total = characters(documents)
    if total < _LEAST_CHARACTERS:
        raise InputError(
            f"corpus: the text has {total} characters; expected at least {_LEAST_CHARACTERS} "
            "(parts of it are held out)"
        )
    rest, held_out = corpus.split(documents, min(0.1, HELD_OUT / total))
    train, validation = corpus.split(rest, min(0.1, VALIDATION / total), seed=1)
    return Parts(train, validation, held_out)


def characters(documents: Sequence[Document]) -> int:
    """How many characters the documents have in all."""
    return sum(len(document.text) for document in documents)


def measure(model: LanguageModel, held_out: Sequence[Document], seed: int) -> Outcome:
    """Score a model on held-out documents beside the compressors, and let it write a sample."""
    python = all(document.name.endswith(".py") for document in held_out)
    bits = {"lstmkit": model.bits_per_character([document.text for document in held_out])}
    bits |= compressed("".join(document.text for document in held_out))
    sample = model.generate(seed=seed, **SAMPLE)
    return Outcome(bits, sample, tokenizable(sample) if python else None)


def compressed(text: str) -> dict[str, float]:
    """Bits per character that gzip, bzip2 and xz need for a text (UTF-8), each at its best level.

    >>> bits = compressed("ab" * 1000)
    >>> list(bits), max(bits.values()) < 0.5
    (['gzip', 'bzip2', 'xz'], True)
    """
    content = text.encode()
    sizes = {
        "gzip": len(gzip.compress(content, 9)),
        "bzip2": len(bz2.compress(content, 9)),
        "xz": len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)),
    }
    return {name: 8 * size / len(text) for name, size in sizes.items()}


def tokenizable(code: str) -> float:
    """Return which share of some code, by characters, Python's own tokenizer reads without error.

    What follows the last newline was cut off in the middle and does not count. The rest is cut
    into passages of whole lines: from the first line, the longest passage that `tokenize` reads
    from its beginning to its end; then from the next line on; a line that cannot even begin a
    passage is lost. The share is that of the lines that are not lost. No line: 0.
    """
    lines = [line + "\n" for line in code.split("\n")[:-1]]
    read, at = 0, 0
    while at < len(lines):
        end = next(
            (end for end in range(len(lines), at, -1) if _tokenizes("".join(lines[at:end]))), at
        )
        read += sum(map(len, lines[at:end]))
        at = max(end, at + 1)
    return read / max(1, sum(map(len, lines)))


def _tokenizes(code: str) -> bool:
    if "\0" in code:  # no Python, and no task for the tokenizer: some versions' trips over it
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "0or" and the like are warned of, and are tokens
        try:
            return not any(map(_is_stray, tokenize.generate_tokens(io.StringIO(code).readline)))
        except (tokenize.TokenError, SyntaxError, ValueError):  # the last: of what is no text
            return False


def _is_stray(token: tokenize.TokenInfo) -> bool:
    """Whether no token of Python's begins here ("?"); since 3.12 such a one is an operator."""
    if token.type == tokenize.ERRORTOKEN:
        return not token.string.isspace()
    return token.exact_type == tokenize.OP


def seconds_after_training(model: LanguageModel, held_out: Sequence[Document]) -> float:
    """Estimate what `measure` and the picture will take here, with about as much to spare.

    Nearly all of it is the LSTM's arithmetic; the quickest of a few moments of that is timed.
    """
    lstm = LSTM(
        model.embedding_size or 1,
        model.hidden_size,
        model.num_layers,
        layer_norm=model.layer_norm,
        seed=0,
    )
    x = np.zeros((128, 32, lstm.input_size), np.float32)
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        lstm(x)
        taken.append(time.perf_counter() - began)
    return 3.5 + 2.2 * min(taken) * characters(held_out) / (len(x) * x.shape[1])
