"""Keras's files, opened with care: zip archives and HDF5, any bytes.

A ``.keras`` file is a zip archive of ``metadata.json``, ``config.json`` and ``model.weights.h5``.
``.weights.h5`` is the last of these alone. The older ``.h5`` is HDF5 with the config among its
attributes. Which of them a file is, its content says, not its name.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from typing import Any, NamedTuple

from lstmkit.formats.keras import hdf5
from lstmkit.formats.keras.hdf5 import Damaged, Group
from lstmkit.shapes import shown
from lstmkit.store import heavy

ZIP = b"PK\x03\x04"
MOST_MEMBERS = 1000
SMALL = 2**20  # bytes that any file may ask for: an HDF5 file of few numbers is mostly zeros
JSON_LIMIT = 2**21  # bytes; a layer takes about 2,000
JSON_SPARE = 2**17  # bytes by which it may be longer than the file when it is unpacked
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


class Opened(NamedTuple):
    """What a file holds, before anything is made of it.

    ``model`` is the config, None where the file holds weights alone. ``by_path`` tells the weights
    of Keras 3 from the older ones. ``version`` is Keras's, as it wrote it.
    """

    format: str
    model: Any
    version: str
    weights: Group
    by_path: bool
    facts: list[tuple[str, str]]
    left_over: list[str]


def open_file(path: str | os.PathLike[str]) -> Opened:
    """Read a file whole and take it apart.

    Raises
    ------
    Damaged
        With the reason, half a sentence.
    OSError
        As `open` raises it.
    """
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] == ZIP:
        return _archive(data)
    if data[:8] == hdf5.SIGNATURE:
        return _hdf5(data)
    raise Damaged("it is neither a zip archive nor HDF5, as Keras's files are")


def _archive(data: bytes) -> Opened:
    if data.count(b"PK\x01\x02") > MOST_MEMBERS:
        raise Damaged(f"it has more than {MOST_MEMBERS} members")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if len(set(names)) < len(names):
                raise Damaged("a member of it comes twice")
            for name in (METADATA, CONFIG, WEIGHTS):
                if name not in names:
                    there = ", ".join(f"{name!r:.40}" for name in names[:8]) or "nothing"
                    raise Damaged(f"it has no {name}; it holds {there}")
            metadata, config, weights = (
                _member(archive, name, len(data)) for name in (METADATA, CONFIG, WEIGHTS)
            )
    except (
        zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, OSError,
        ValueError, OverflowError, RuntimeError, LookupError,
    ) as error:  # fmt: skip
        raise Damaged(f"it is no whole zip archive ({shown(error)})") from None
    about = _json(METADATA, metadata, len(data))
    facts = [(key, f"{value:.80}") for key, value in about.items() if isinstance(value, str)]
    others = sorted(set(names) - {METADATA, CONFIG, WEIGHTS})
    left_over = (
        [f"{len(others)} more members of the archive: {others[0]!r:.80} …"] if others else []
    )
    version = str(about.get("keras_version", "3"))
    tree = hdf5.read(weights)
    model = _json(CONFIG, config, len(data))
    return Opened("Keras (.keras)", model, version, tree, True, facts, left_over)


def _member(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """Return a member's bytes: at most three times the file's (or 1 MB), whatever it says."""
    info = archive.getinfo(name)
    limit = max(3 * size, SMALL) if name == WEIGHTS else min(JSON_LIMIT, size + JSON_SPARE)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise Damaged(f"{name} is encrypted or compressed in a way that Keras does not use")
    if info.file_size > limit:
        raise Damaged(f"{name} would take {info.file_size} bytes; expected at most {limit}")
    with archive.open(info) as file:
        return file.read(limit)


def _hdf5(data: bytes) -> Opened:
    tree = hdf5.read(data)
    texts = {key: value for key, value in tree.attributes.items() if isinstance(value, str)}
    facts = [(key, f"{value:.80}") for key, value in texts.items() if not key.endswith("_config")]
    if "model_config" in texts:
        weights = tree.members.get("model_weights")
        if not isinstance(weights, Group):
            raise Damaged("it has a model's config and no weights")
        own = weights.attributes.get("keras_version")
        version = texts.get("keras_version") or (own if isinstance(own, str) else "1")
        model = _json("model_config", texts["model_config"].encode("utf-8", "replace"), len(data))
        left = [f"group {name!r:.60}" for name in tree.members if name not in OF_A_MODEL]
        return Opened("Keras whole model (.h5)", model, version, weights, False, facts, left)
    if "layer_names" in tree.attributes or "layer_names0" in tree.attributes:
        version = texts.get("keras_version", "1")
        return Opened("Keras weights alone (old .h5)", None, version, tree, False, facts, [])
    if "layers" in tree.members or "_layer_checkpoint_dependencies" in tree.members:
        return Opened("Keras weights alone (.weights.h5)", None, "3", tree, True, facts, [])
    there = ", ".join(f"{name!r:.40}" for name in list(tree.members)[:8]) or "nothing"
    raise Damaged(f"it is HDF5, but not Keras's; it holds {there}")


OF_A_MODEL = ("model_weights", "optimizer_weights")


def _json(part: str, data: bytes, size: int) -> dict[str, Any]:
    """Read a JSON object of a bounded size; a name that comes twice is refused."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            raise ValueError("a name comes twice")
        return result

    if len(data) > JSON_LIMIT or heavy(data, size // 4):
        raise Damaged(f"its {part} is too large, or has too many parts ({len(data)} bytes)")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"its {part} is not proper JSON ({error})") from None
    if not isinstance(value, dict):
        raise Damaged(f"its {part} is not a JSON object")
    return value
