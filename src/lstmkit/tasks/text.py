"""Text as numbers: a vocabulary of bytes or characters, and texts as rows of tokens.

A text begins as if a newline stood before it. So the first character is predicted like every other
one, and a text can be written from nothing.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lstmkit.data import Batch
from lstmkit.shapes import Array, InputError, real_number

Text = str | bytes | Sequence[str] | Sequence[bytes]
Documents = Sequence[str | bytes]

_SHOWN = 5  # unknown characters in a message


class Vocabulary:
    """The symbols that a model reads and writes, numbered from 0.

    Parameters
    ----------
    characters : str, optional
        Each character once, in the order of their numbers; None for the 256 byte values, with
        text in UTF-8.

    Raises
    ------
    InputError
        If there are no characters, or one stands there twice.
    """

    def __init__(self, characters: str | None = None) -> None:
        self.characters = characters
        if characters is None:
            self.start = ord("\n")
            return
        if not isinstance(characters, str) or not characters:
            raise InputError(f"vocabulary: it is {characters!r}; expected a text of characters")
        codes = _code_points(characters)
        if len(set(characters)) < len(characters):
            twice = next(c for c in characters if characters.count(c) > 1)
            raise InputError(f"vocabulary: it has {twice!r} twice; expected each character once")
        self.start = max(characters.find("\n"), 0)
        unknown = len(codes)
        small = np.min_scalar_type(unknown)  # a text takes a byte a character where it can
        self._number = np.full(int(codes.max()) + 2, unknown, small)  # the last: any higher one
        self._number[codes] = np.arange(len(codes))

    def __len__(self) -> int:
        return 256 if self.characters is None else len(self.characters)

    def encode(self, owner: str, name: str, text: str | bytes) -> Array:
        """Turn text (or bytes, if this is their vocabulary) into numbers, unsigned (length,).

        Raises
        ------
        InputError
            If the text has characters that are not in the vocabulary; the message names them and
            says where each first stands. ``owner`` and ``name`` say whose argument the text is.
        """
        if self.characters is None:
            return np.frombuffer(_utf8(owner, name, text), np.uint8)
        if not isinstance(text, str):
            raise InputError(
                f"{owner}: {name} is {type(text).__name__}; expected str "
                '(bytes are for a model with tokens="bytes")'
            )
        codes = np.minimum(_code_points(text), len(self._number) - 1)
        numbers: Array = self._number[codes]
        if (numbers == len(self)).any():
            raise InputError(f"{owner}: {name} has {_unknown(text, self.characters)}")
        return numbers

    def decoder(self) -> Callable[[int], str]:
        """Return a function from one number after the other to the text that it completes.

        A byte that ends no character gives ``""``; bytes that are not UTF-8 give U+FFFD.
        """
        if self.characters is not None:
            return self.characters.__getitem__
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        return lambda number: decode(bytes((number,)))


def _code_points(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _utf8(owner: str, name: str, text: str | bytes) -> bytes:
    if isinstance(text, bytes | bytearray):
        return bytes(text)
    if not isinstance(text, str):
        raise InputError(f"{owner}: {name} is {type(text).__name__}; expected str or bytes")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{owner}: {name} has the half character {text[error.start]!r} at {error.start}; "
            "expected text that UTF-8 can hold"
        ) from None


def _unknown(text: str, known: str) -> str:
    strange = sorted(set(text) - set(known), key=text.index)
    shown = [f"{c!r} ({_place(text, text.index(c))})" for c in strange[:_SHOWN]]
    more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
    return (
        f"characters that the model does not know: {', '.join(shown)}{more}; expected the "
        f'{len(known)} in its vocabulary (a model with tokens="bytes" takes any)'
    )


def _place(text: str, position: int) -> str:
    before = text[:position]
    return f"line {before.count(chr(10)) + 1}, column {position - before.rfind(chr(10))}"


def documents(owner: str, name: str, text: Text) -> Documents:
    """Return the text's documents: itself, or those of a sequence, all of one kind."""
    if isinstance(text, str):
        return [text]
    if isinstance(text, bytes | bytearray):
        return [bytes(text)]
    try:
        found: list[Any] = list(text)
    except TypeError:
        found = [text]
    for kind in (str, bytes):
        if all(isinstance(document, kind) for document in found):
            return found
    kinds = " and ".join(sorted({type(document).__name__ for document in found}))
    raise InputError(f"{owner}: {name} holds {kinds}; expected str, or a sequence of str")


def cut(owner: str, text: Documents, fraction: float) -> tuple[Documents, Documents]:
    """Take the documents' last part, a fraction of all that they hold, off as another list."""
    real_number(owner, "validation", fraction, 0.0, 1.0, open_ends="low high")
    before, after = list(text), list[str | bytes]()
    missing = round(fraction * sum(map(len, text)))
    while missing > 0:
        last = before.pop()
        if len(last) > missing:
            before.append(last[:-missing])
        after.append(last[-missing:])
        missing -= len(after[-1])
    return before, after[::-1]


def tokens(vocabulary: Vocabulary, owner: str, name: str, text: Documents) -> tuple[Array, Array]:
    """Chain the documents, each after the token that stands for a beginning.

    Returns
    -------
    tokens : unsigned (total,)
    starts : int64 (documents,)
        Where the beginnings stand.
    """
    begin = np.array([vocabulary.start], np.uint8 if vocabulary.start < 256 else np.uint32)
    parts: list[Array] = [np.empty(0, np.uint8)]
    for k, document in enumerate(text):
        which = name if len(text) == 1 else f"{name}[{k}]"
        parts += [begin, vocabulary.encode(owner, which, document)]
    ends = np.cumsum([len(part) for part in parts])
    return np.concatenate(parts), ends[:-1:2]


class Passages:
    """Every token of some documents as a target once, in batches for `training.evaluate`.

    The text is cut into up to 128 rows of at least 1,024 tokens, which are read side by side. A row
    begins with the 256 tokens before it, which warm the state and do not count. The beginnings
    themselves do not count either.

    Parameters
    ----------
    tokens, starts
        As `tokens` gives them.

    Attributes
    ----------
    count : int
        The targets that count.
    """

    carries = True
    _rows, _row_length, _warm, _chunk = 128, 1024, 256, 128

    def __init__(self, tokens: Array, starts: Array) -> None:
        self._tokens, self._begins = tokens, np.zeros(len(tokens), bool)
        self._begins[starts] = True
        self.count = len(tokens) - len(starts)

    def __iter__(self) -> Iterator[Batch]:
        total = len(self._tokens) - 1
        rows = min(self._rows, max(1, total // self._row_length))
        length = -(-total // rows)
        row = np.arange(rows)[:, None] * length
        for t in range(-self._warm if rows > 1 else 0, length, self._chunk):
            column = np.arange(t, min(t + self._chunk, length))
            place = row + column
            inside = (place >= 0) & (place < total)
            place[~inside] = 0
            counted = inside & (column >= 0) & ~self._begins[place + 1]
            targets = np.where(counted, self._tokens[place + 1].astype(np.int64), -1)
            inputs = self._tokens[place].astype(np.int64)
            yield Batch(inputs, targets, int(counted.sum()), reset=self._begins[place])
