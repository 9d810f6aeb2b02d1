"""Text to learn from: files, folders, and the source code that every Python brings along.

A corpus is a list of documents, one a file. What is held out is held out by whole files wherever
there are several, so that no held-out line stands in a file that the model has read.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lstmkit.shapes import InputError, real_number

# Not code that its authors wrote to be read (tests, fixtures, tables, what others installed).
_LEFT_OUT = frozenset(
    "test tests idle_test idlelib lib2to3 site-packages dist-packages pydoc_data encodings".split()
)
_LEAST_BYTES, _MOST_BYTES = 200, 120_000


class Document(NamedTuple):
    """The text of one file."""

    name: str
    text: str


class Corpus(NamedTuple):
    """Documents in the same order on every system, and the files that gave none.

    Each entry of ``skipped`` is a line: the file's name and why it was left out.
    """

    documents: list[Document]
    skipped: list[str]

    @property
    def characters(self) -> int:
        """How many characters the documents have in all."""
        return sum(len(document.text) for document in self.documents)


_RUN = "checkpoint.safetensors"


def read(path: str | os.PathLike[str]) -> Corpus:
    r"""Read a text file, or every text file in a folder and the folders below it.

    Files must be UTF-8; ``\r\n`` becomes ``\n`` and a byte-order mark is dropped. In a folder,
    names that begin with a dot are passed over, and so are the folders of training runs (those
    that hold a checkpoint): so that a run inside the folder does not become part of its text. Files
    that are binary, empty, in another encoding or unreadable are listed in ``skipped``.

    Raises
    ------
    InputError
        If the file is empty or is not UTF-8 text, or the folder holds no text at all.
    OSError
        If there is no such file, or it may not be read.
    """
    root = Path(path)
    if not root.is_dir():
        text, fault = _read_text(root)
        if fault:
            raise InputError(f"corpus: {root} {fault}; expected text in UTF-8")
        return Corpus([Document(root.name, text)], [])
    os.scandir(root).close()  # os.walk is silent about a folder that may not be read
    documents, skipped = [], []
    for file in _files(root):
        name = file.relative_to(root).as_posix()
        try:
            text, fault = _read_text(file)
        except OSError as error:
            text, fault = "", f"cannot be read ({error.strerror})"
        if fault:
            skipped.append(f"{name} {fault}")
        else:
            documents.append(Document(name, text))
    if not documents:
        found = f"{len(skipped)} files, none of them text" if skipped else "no files"
        raise InputError(f"corpus: folder {root} has {found}; expected text in UTF-8")
    return Corpus(documents, skipped)


def standard_library() -> Corpus:
    """Read the source code of the standard library of the Python that is running.

    Every ``.py`` file of 200 to 120,000 bytes that is pure ASCII, without tests, IDLE, lib2to3,
    installed packages and tables (``encodings``, ``pydoc_data``, ``_sysconfigdata…``). The same
    interpreter always gives the same corpus.

    Raises
    ------
    InputError
        If this Python has no such files (some are shipped with compiled modules only).
    """
    root = Path(sysconfig.get_path("stdlib"))
    documents = []
    for file in _files(root, _LEFT_OUT) if root.is_dir() else ():
        if file.suffix != ".py" or file.name.startswith("_sysconfigdata"):
            continue
        if not _LEAST_BYTES <= file.stat().st_size <= _MOST_BYTES:
            continue
        content = file.read_bytes()
        if content.isascii() and b"\0" not in content:
            text = _newlines(content.decode("ascii"))
            documents.append(Document(file.relative_to(root).as_posix(), text))
    if not documents:
        raise InputError(
            f"corpus: {root} has no source files of the standard library; "
            "expected *.py files (train on a file or folder of your own instead)"
        )
    return Corpus(documents, [])


def split(
    documents: Sequence[Document], fraction: float, seed: int = 0
) -> tuple[list[Document], list[Document]]:
    """Split documents into those to train on and those held out.

    The files are shuffled with the seed and held out, whole, as long as they fit into ``fraction``
    of all characters; once half of that is filled, the first that does not fit ends it. Where no
    file fits (a single one never does) the last lines of the longest document are held out instead.

    Parameters
    ----------
    documents
        At least one; the longest has at least two characters.
    fraction
        The share of the characters to hold out, above 0 and below 1.
    seed
        Chooses the files; the same documents and seed give the same split.

    Returns
    -------
    tuple of two lists of Document
        To train on, and held out: neither is empty, each in the order in which they came.
    """
    real_number("corpus", "fraction", fraction, 0.0, 1.0, open_ends="low high")
    room = fraction * sum(len(document.text) for document in documents)
    chosen: set[int] = set()
    taken = 0
    for k in np.random.default_rng(seed).permutation(len(documents)):
        size = len(documents[k].text)
        if taken + size <= room:
            chosen.add(int(k))
            taken += size
        elif 2 * taken >= room:
            break  # filling the rest as well would favour short files
    if chosen:
        train = [document for k, document in enumerate(documents) if k not in chosen]
        return train, [documents[k] for k in sorted(chosen)]

    longest = max(range(len(documents)), key=lambda k: len(documents[k].text))
    name, text = documents[longest]
    if len(text) < 2:
        raise InputError(f"corpus: {name} has {len(text)} characters; expected at least 2 to split")
    cut = min(max(1, len(text) - round(room)), len(text) - 1)
    cut = text.rfind("\n", 1, cut) + 1 or cut
    train = list(documents)
    train[longest] = Document(name, text[:cut])
    return train, [Document(name, text[cut:])]


def _files(root: Path, left_out: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Regular files below the folder, in the same order on every system."""
    for folder, folders, names in os.walk(root):
        if _RUN in names:
            folders.clear()
            continue
        folders[:] = sorted(n for n in folders if n not in left_out and not n.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            if not name.startswith(".") and file.is_file():
                yield file


def _read_text(file: Path) -> tuple[str, str]:
    """Return the text and, if the file is not text, what is wrong with it."""
    content = file.read_bytes()
    if b"\0" in content:
        return "", f"is binary (zero byte at {content.index(0)})"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return "", f"is not UTF-8 (byte 0x{content[error.start]:02x} at {error.start})"
    return _newlines(text), "" if text else "is empty"


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
