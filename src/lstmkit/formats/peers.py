"""The libraries whose files we read, where they are installed: to see that both compute the same.

Nothing here is needed to read, run or write a file.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lstmkit.formats.base import Model
from lstmkit.formats.detect import Format, recognize
from lstmkit.layers import LSTM, Activation, Bidirectional, Embedding, Linear, Pooling, Sequential
from lstmkit.shapes import Array, InputError

PathLike = str | os.PathLike[str]
BATCH, STEPS = 3, 7


Found = tuple[str, float, float, str]
"""The library, the largest difference and output, and the dtype of its outputs."""


class NotRun(Exception):
    """The library did not run the file; the message says why."""


def largest_difference(path: PathLike, model: Model, prefix: str = "") -> Found:
    """Run a file in its own library, and the model that was read from it or written to it here.

    Parameters
    ----------
    path
        A file of PyTorch, Keras or ONNX.
    model
        Ours.
    prefix
        Of the names in a state dict.

    Returns
    -------
    name : str
        The library and its version.
    difference, size : float
        The largest difference of two outputs, and the largest output, on random input.
    dtype : str
        That of the library's outputs.

    Raises
    ------
    NotRun
        If the library is not installed, or cannot run the file.
    """
    format = recognize(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the library does by itself
            if format is Format.KERAS:
                return _keras(path, as_chain(model))
            if format is Format.ONNX:
                return _onnx(path, as_chain(model))
            return _torch(path, model, prefix)
    except NotRun:
        raise
    except ImportError as error:
        raise NotRun(f"{error.name or error} is not installed") from None
    except Exception as error:  # whatever a library raises: it is not ours to judge
        words = " ".join(str(error).split())
        raise NotRun(f"it failed: {type(error).__name__}: {words:.200}") from None


def as_chain(model: Model) -> Sequential:
    """Return a model as a chain of layers."""
    return Sequential({"lstm": model}) if isinstance(model, LSTM) else model


def random_input(chain: Sequential, batch: int = BATCH, steps: int = STEPS, seed: int = 0) -> Array:
    """Draw what a chain takes: standard normal numbers, or tokens."""
    rng = np.random.default_rng(seed)
    if chain.embedding is not None:
        return rng.integers(0, chain.input_size, (batch, steps))
    return rng.standard_normal((batch, steps, chain.input_size)).astype(chain.dtype)


def compare(ours: Array, theirs: Array) -> tuple[float, float]:
    """Return the largest difference, infinite if the shapes differ, and the largest output."""
    if ours.shape != theirs.shape:
        return float("inf"), 0.0
    if not ours.size:
        return 0.0, 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(ours.astype(float) - theirs.astype(float)).max()
    return float(difference), float(np.abs(ours).max())


def _library(name: str) -> Any:
    """Import what need not be installed, and has no types that we could check."""
    return importlib.import_module(name)


def _version(name: str) -> str:
    from importlib.metadata import version

    return version(name)


# --------------------------------------------------------------------------------- PyTorch


def _torch(path: PathLike, model: Model, prefix: str) -> Found:
    torch = _library("torch")
    if recognize(path) is Format.SAFETENSORS:
        tensors = dict(_library("safetensors.torch").load_file(os.fspath(path)))
    else:  # weights_only: nothing in the file is run there either
        tensors = dict(
            _flat("", torch.load(os.fspath(path), map_location="cpu", weights_only=True))
        )
    start = f"{prefix.removesuffix('.')}." if prefix else ""
    chain = as_chain(model)
    x = random_input(chain)
    ours, _ = chain(x)
    with torch.no_grad():
        y = torch.from_numpy(x)
        for name, layer in chain.layers.items():
            here = start if isinstance(model, LSTM) else f"{start}{name}."
            own = {
                key[len(here) :]: tensor for key, tensor in tensors.items() if key.startswith(here)
            }
            y = _torch_layer(torch, layer, own)(y)
    return f"PyTorch {torch.__version__}", *compare(ours, y.numpy()), ours.dtype.name


def _flat(path: str, tree: Any) -> list[tuple[str, Any]]:
    """Return the tensors of nested dicts by their dotted names."""
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        name = f"{path}{key}"
        if isinstance(value, Mapping):
            found += _flat(f"{name}.", value)
        elif hasattr(value, "dtype"):
            found.append((name, value))
    return found


def _torch_layer(torch: Any, layer: Any, own: dict[str, Any]) -> Callable[[Any], Any]:
    module: Any
    if isinstance(layer, Activation):
        if layer.function in ("softmax", "log_softmax"):
            return lambda y: getattr(torch, str(layer.function))(y, dim=-1)
        if layer.function in ("relu", "tanh", "sigmoid"):
            return lambda y: getattr(torch, str(layer.function))(y)
        raise NotRun(f"a state dict does not hold {layer.function}")
    if isinstance(layer, Pooling):
        return lambda y: y.mean(dim=1) if layer.how == "mean" else y.amax(dim=1)
    if isinstance(layer, Embedding):
        module = torch.nn.Embedding(layer.num_embeddings, layer.size)
    elif isinstance(layer, Linear):
        bias = "bias" in layer.parameters
        module = torch.nn.Linear(layer.input_size, layer.output_size, bias=bias)
    elif isinstance(layer, Bidirectional) or not getattr(layer, "backwards", True):
        one = (
            layer.forward if isinstance(layer, Bidirectional) else layer
        )  # they have equal options
        lstm, last = one.lstm, one.last
        both = lstm.bidirectional or isinstance(layer, Bidirectional)
        module = torch.nn.LSTM(
            lstm.input_size,
            lstm.hidden_size,
            lstm.num_layers,
            bias=lstm.config["bias"],
            batch_first=True,
            bidirectional=both,
            proj_size=lstm.config["proj_size"],
        )
        if "weight_ih" in own:  # an LSTMCell's
            own = {f"{key}_l0": tensor for key, tensor in own.items()}
    else:
        raise NotRun(f"a state dict does not hold how a {type(layer).__name__} is run")
    wanted = module.state_dict()
    module.load_state_dict({key: own[key] for key in wanted if key in own})
    module = module.to(getattr(torch, next(iter(layer.parameters.values())).dtype.name))
    if isinstance(layer, Embedding | Linear):
        return lambda y: module(y)
    if last:  # the end of each direction's reading
        ends = 2 if both else 1
        return lambda y: module(y)[1][0][-ends:].transpose(0, 1).reshape(len(y), -1)
    return lambda y: module(y)[0]


# ----------------------------------------------------------------------------------- Keras


def _keras(path: PathLike, chain: Sequential) -> Found:
    if "KERAS_BACKEND" not in os.environ:
        backends = {"tensorflow": "tensorflow", "torch": "torch", "jax": "jax", "numpy": "numpy"}
        installed = [k for k in backends if importlib.util.find_spec(backends[k]) is not None]
        os.environ["KERAS_BACKEND"] = installed[0]
    keras = _library("keras")

    # safe_mode and compile=False: no code of the file's, nothing but layers.
    model = keras.models.load_model(os.fspath(path), compile=False, safe_mode=True)
    shape = model.input_shape
    batch, steps = (fixed or ours for fixed, ours in zip(shape[:2], (BATCH, STEPS), strict=True))
    x = random_input(chain, batch, steps)
    theirs = keras.ops.convert_to_numpy(model(x, training=False))
    name = f"Keras {keras.__version__} ({keras.backend.backend()})"
    return name, *compare(chain(x)[0], np.asarray(theirs)), model.compute_dtype


# ------------------------------------------------------------------------------------ ONNX


def _onnx(path: PathLike, chain: Sequential) -> Found:
    onnxruntime = _library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        os.fspath(path), options, providers=["CPUExecutionProvider"]
    )
    first, *others = session.get_inputs()
    if len(first.shape) < 2:
        raise NotRun(f"its first input has the shape {first.shape}")
    sizes = [
        fixed if isinstance(fixed, int) else ours
        for fixed, ours in zip(first.shape[:2], (BATCH, STEPS), strict=True)
    ]
    x = random_input(chain, *sizes).astype(_numpy_dtype(first.type), copy=False)
    feeds = {first.name: x}
    for other in others:
        dtype = _numpy_dtype(other.type)
        feeds[other.name] = _other_input(other.name, other.shape, dtype, sizes)
    outputs = session.run(None, feeds)
    # An exporter may have written time first and directions apart; a graph has many outputs.
    best = float("inf"), 0.0
    for turned in (False, True):
        ours, _ = chain(x.swapaxes(0, 1) if turned else x)
        for output in outputs:
            for theirs in _arrangements(np.asarray(output)):
                best = min(best, compare(ours, theirs))
    if best[1] == 0 and best[0] == float("inf"):
        raise NotRun("none of its outputs has the shape of ours")
    return f"ONNX Runtime {_version('onnxruntime')}", *best, outputs[0].dtype.name


def run_graph(path: PathLike, x: Array) -> Array:
    """Run one of our own ONNX files here, node by node, whether or not it reads as layers."""
    from lstmkit.formats.onnx.graph import open_file
    from lstmkit.formats.onnx.runtime import Interpreter

    file = open_file(path)
    first, *others = file.graph.inputs
    feeds = {first.name: x}
    for other in others:
        feeds[other.name] = _other_input(other.name, other.shape or (), other.dtype, x.shape)
    try:
        return Interpreter(file).run(feeds)[0]
    except InputError as error:  # we write more operators than we compute
        raise NotRun(str(error)) from None


def _numpy_dtype(name: str) -> str:
    names = {"float": "float32", "double": "float64"}
    inner = name.removeprefix("tensor(").removesuffix(")")
    return names.get(inner, inner)


def _other_input(name: str, shape: Sequence[Any], dtype: str, sizes: Sequence[int]) -> Array:
    """Return what our own files ask for beside x: lengths, and the states before the first step."""
    if name == "lengths":
        return np.full(sizes[0], sizes[1], np.int32)
    if name.startswith(("h_0", "c_0")):
        return np.zeros([n if isinstance(n, int) else sizes[0] for n in shape], dtype)
    raise NotRun(f"it has the input {name!r:.60}, for which nothing is known")


def _arrangements(output: Array) -> list[Array]:
    if output.ndim == 4:  # (T, D, N, H) or (N, T, D, H)
        time_first = output.transpose(2, 0, 1, 3)
        return [a.reshape(*a.shape[:2], -1) for a in (time_first, output)]
    if output.ndim == 3:
        ends = output.swapaxes(0, 1)
        return [output, ends, ends.reshape(len(ends), -1)]
    return [output]
