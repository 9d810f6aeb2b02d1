"""What a PyTorch checkpoint's pickle says, without running it.

A pickle is a program for a small stack machine, and two of its instructions call whatever function
it names. Here those calls are a fixed list of descriptions: a tensor, an ordered dict, a size. All
else is refused by name. `pickletools` of the standard library takes the program apart; it runs
nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from pickletools import genops, opcodes
from sys import getsizeof
from typing import Any, NamedTuple

MOST_BYTES = 64 * 2**20
MOST_STEPS = 400_000  # a tensor takes about 45, so that these take less than a second
MOST_TENSORS = 20_000
MOST_AXES = 16
SLOT = 9  # bytes of a place on the stack or in the memo
EMPTY, PAIR = 64, 72  # bytes of an empty list, and of a pair with its place in a list
ITEMSIZES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
    "complex128": 16, "complex64": 8,
}  # fmt: skip
STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128", "ComplexFloatStorage": "complex64",
}  # fmt: skip


class Refused(Exception):
    """The pickle cannot be taken; the words say why, and end in what to do."""


class Storage(NamedTuple):
    """Bytes in an entry of their own: ``numbers`` of a dtype (bytes if it is untyped)."""

    key: str
    dtype: str
    numbers: int


class Tensor(NamedTuple):
    """A view into a storage, checked to lie within it; offset and strides count numbers."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Global(NamedTuple):
    """A name that the pickle would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Map:
    """A dict as its pairs in order: whatever the keys are, none is hashed."""

    __slots__ = ("pairs",)

    def __init__(self) -> None:
        self.pairs: list[tuple[Any, Any]] = []


STATE = "save the state dict instead: torch.save(model.state_dict(), path)"


def read(data: bytes, room: int) -> Any:
    """Return what the pickle describes: plain values, lists, tuples, `Map` and `Tensor`.

    Lists and maps may contain themselves. The time taken is proportional to the pickle's length;
    what it makes takes ``room`` bytes at most: one byte may make an empty list, of 56.

    Raises
    ------
    Refused
        If it is damaged, too long, or asks for anything but tensors and plain containers.
    """
    if len(data) > MOST_BYTES:
        raise Refused(f"its pickle has {len(data)} bytes; expected at most {MOST_BYTES}: {STATE}")
    try:
        return _Machine(room).run(data)
    except (ValueError, IndexError, KeyError, OverflowError, struct.error) as error:
        why = " ".join(str(error).split())
        raise Refused(f"its pickle is damaged ({why:.100}); take another copy of it") from None


class _Machine:
    """The stack machine: one method or table entry an instruction, and no other instruction."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: list[Any] = []  # by index: picklers count from 0 on
        self.calls = 0

    def run(self, data: bytes) -> Any:
        stream = BytesIO(data)
        operations = genops(stream)
        for _ in range(MOST_STEPS):
            self._expect(data, stream.tell())
            operation, argument, _place = next(operations)
            name = operation.name
            if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _ARGUMENTS:
                self.stack.append(argument)
                self.room -= getsizeof(argument) if name != "BININT1" else 0  # those are shared
            elif name == "STOP":
                if len(self.stack) != 1 or self.marks:
                    raise ValueError("it ends with something left")
                return self.stack[0]
            else:
                _STEPS[name](self, argument)
                if name in _MAKES:
                    self.room -= getsizeof(self.stack[-1]) + (EMPTY if name in _MAPS else 0)
            self._need(SLOT * (len(self.stack) + len(self.marks) + len(self.memo)))
        raise Refused(f"its pickle has more than {MOST_STEPS} steps: {STATE}")

    def _need(self, size: int) -> None:
        if self.room < size:
            raise Refused(f"its pickle makes far more than a file of this size needs: {STATE}")

    def _expect(self, data: bytes, at: int) -> None:
        """Refuse an instruction before its argument is read."""
        if at == len(data):
            raise ValueError("no end")
        name = _INSTRUCTIONS.get(chr(data[at]))
        if name == "GLOBAL" and b"\\" in data[at : data.find(b"\n", data.find(b"\n", at) + 1)]:
            raise ValueError("a name with a backslash")  # `genops` would undo it, with a warning
        if name is not None and name not in _KNOWN:
            raise Refused(
                f"its pickle has the instruction {name}, which torch.save does not write: {STATE}"
            )

    def pop(self) -> Any:
        if not self.stack or (self.marks and self.marks[-1] >= len(self.stack)):
            raise ValueError("the stack is empty")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def to_mark(self) -> list[Any]:
        if not self.marks:
            raise ValueError("no mark")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def push_tuple(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(values)))

    def put(self, index: int) -> None:
        if not 0 <= index <= len(self.memo):
            raise ValueError("an index that leaves some out")
        self.memo[index : index + 1] = [self.top()]

    def get(self, index: int) -> None:
        if index < 0:
            raise ValueError("an index below 0")
        self.stack.append(self.memo[index])

    def items(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, Map) or len(values) % 2:
            raise ValueError("items for what is no dict")
        self._need(PAIR * len(values))  # the two halves stand in lists of their own meanwhile
        self.room -= PAIR * (len(values) // 2)
        target.pairs += zip(values[::2], values[1::2], strict=True)

    def appends(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise ValueError("values for what is no list")
        target += values

    def push_global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        self.stack.append(_known(Global(module, name)))

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise ValueError("a call of what is no function")
        make = _CALLS.get(str(function))
        if make is None:
            raise Refused(f"its pickle calls {str(function)!r:.80}: {STATE}")
        self.calls += 1
        if self.calls > 3 * MOST_TENSORS:  # a tensor, its parameter and their empty dict
            raise Refused(f"its pickle has more than {MOST_TENSORS} tensors: {STATE}")
        self.stack.append(make(arguments))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if not isinstance(target, Map) or not isinstance(state, Map):
            raise Refused(f"its pickle gives attributes to what is no dict: {STATE}")
        # An OrderedDict's attributes: a state dict's versions, in _metadata. Nothing needs them.

    def persistent(self) -> None:
        found = self.pop()
        if not isinstance(found, tuple) or len(found) != 5 or found[0] != "storage":
            raise ValueError("a persistent id that is no storage")
        _, kind, key, _, count = found
        dtype = _storage_dtype(kind)
        if dtype is None or not isinstance(key, str) or not _whole(count):
            raise ValueError("a storage without kind, key and size")
        self.stack.append(Storage(key, dtype, count))


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _storage_dtype(kind: Any) -> str | None:
    if not isinstance(kind, Global):
        return None
    return "untyped" if kind == _UNTYPED else STORAGES.get(kind.name)


def _tensor(arguments: tuple[Any, ...]) -> Tensor:
    """_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])."""
    if not 6 <= len(arguments) <= 7 or not isinstance(arguments[0], Storage):
        raise ValueError("a tensor without a storage")
    return _view(arguments[0], arguments[0].dtype, *arguments[1:4])


def _tensor_of_dtype(arguments: tuple[Any, ...]) -> Tensor:
    """_rebuild_tensor_v3: the same, with the dtype after the hooks."""
    if not 7 <= len(arguments) <= 8 or not isinstance(arguments[0], Storage):
        raise ValueError("a tensor without a storage")
    dtype = arguments[6]
    if not isinstance(dtype, Global) or dtype.module != "torch":
        raise ValueError("a tensor without a dtype")
    storage = arguments[0]
    itemsize = ITEMSIZES.get(dtype.name, 1)
    counted = storage._replace(numbers=storage.numbers // itemsize, dtype=dtype.name)
    return _view(counted, dtype.name, *arguments[1:4])


def _view(storage: Storage, dtype: str, offset: Any, shape: Any, strides: Any) -> Tensor:
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or not _whole(offset):
        raise ValueError("a tensor without offset, size and stride")
    if len(shape) != len(strides) or len(shape) > MOST_AXES:
        raise ValueError("a tensor of too many axes, or with another number of strides")
    if not all(_whole(n) for n in (*shape, *strides)):
        raise ValueError("a tensor whose size or stride is no whole number from 0 on")
    count, last = 1, offset
    for size, stride in zip(shape, strides, strict=True):
        count *= size
        last += (size - 1) * stride
    if count and (last >= storage.numbers or count > storage.numbers):
        raise ValueError(
            f"a tensor of size {list(shape)} asks for more than its storage of {storage.numbers}"
        )
    return Tensor(storage, dtype, offset, shape, strides)


def _parameter(arguments: tuple[Any, ...]) -> Tensor:
    """_rebuild_parameter(data, requires_grad, hooks[, state])."""
    if not 3 <= len(arguments) <= 4 or not isinstance(arguments[0], Tensor):
        raise ValueError("a parameter without a tensor")
    return arguments[0]


def _ordered_dict(arguments: tuple[Any, ...]) -> Map:
    if arguments:
        raise ValueError("an OrderedDict that is not made empty")
    return Map()


def _size(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(arguments) != 1 or not isinstance(arguments[0], tuple):
        raise ValueError("a size of what are no numbers")
    return arguments[0]


def _text(arguments: tuple[Any, ...]) -> str:
    """Take device("cpu") and _codecs.encode("…", "latin1"), protocol 2's bytes, as their text."""
    if not arguments or not isinstance(arguments[0], str):
        raise ValueError("a device or bytes without text")
    return arguments[0]


_UNTYPED = Global("torch.storage", "UntypedStorage")
_CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _size,
    "torch.device": _text,
    "collections.OrderedDict": _ordered_dict,
    "_codecs.encode": _text,
}
# What a checkpoint may name beside them: the kinds of a storage, and of a tensor's numbers.
_NAMES = {f"torch.{name}" for name in (*STORAGES, *ITEMSIZES)} | {str(_UNTYPED)}
_NAMES |= {f"torch.storage.{name}" for name in (*STORAGES, "TypedStorage")}
_NAMES |= {f"torch.float8_{kind}" for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")}
_NAMES |= {"torch.uint16", "torch.uint32", "torch.uint64", "torch.complex32"}


def _known(name: Global) -> Global:
    full = str(name)
    if full in _CALLS or full in _NAMES:
        return name
    if name.module.startswith("torch.jit") or name.module.startswith("__torch__"):
        raise Refused(f"it is TorchScript ({full!r:.80}): {STATE}")
    if name.module.startswith("torch.nn.modules."):
        raise Refused(f"it is a pickled module ({full!r:.80}): {STATE}")
    raise Refused(f"it holds a {full!r:.80}, which is code and not an array: {STATE}")


_CONSTANTS: dict[str, Any] = {
    "NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (),
}  # fmt: skip
_ARGUMENTS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip


def _push(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(make())


def _mark(machine: _Machine, _: Any) -> None:
    machine.marks.append(len(machine.stack))


def _global(machine: _Machine, argument: Any) -> None:
    module, _, name = argument.partition(" ")
    machine.push_global(module, name)


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    machine.push_global(module, name)


def _pop(machine: _Machine, _: Any) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.pop()


def _pop_mark(machine: _Machine, _: Any) -> None:
    machine.to_mark()


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.items([key, value])


def _dict(machine: _Machine, _: Any) -> None:
    values = machine.to_mark()
    machine.stack.append(Map())
    machine.items(values)


def _memoize(machine: _Machine, _: Any) -> None:
    machine.put(len(machine.memo))


def _same(machine: _Machine, _: Any) -> None:
    """PROTO and FRAME: they say how the rest is written, and `genops` has read it."""


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _same,
    "FRAME": _same,
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": lambda machine, _: machine.stack.append(machine.top()),
    "EMPTY_DICT": _push(Map),
    "EMPTY_LIST": _push(list),
    "TUPLE1": lambda machine, _: machine.push_tuple(1),
    "TUPLE2": lambda machine, _: machine.push_tuple(2),
    "TUPLE3": lambda machine, _: machine.push_tuple(3),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.to_mark())),
    "LIST": lambda machine, _: machine.stack.append(machine.to_mark()),
    "DICT": _dict,
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.items(machine.to_mark()),
    "APPEND": lambda machine, _: machine.appends([machine.pop()]),
    "APPENDS": lambda machine, _: machine.appends(machine.to_mark()),
    "PUT": lambda machine, index: machine.put(index),
    "BINPUT": lambda machine, index: machine.put(index),
    "LONG_BINPUT": lambda machine, index: machine.put(index),
    "MEMOIZE": _memoize,
    "GET": lambda machine, index: machine.get(index),
    "BINGET": lambda machine, index: machine.get(index),
    "LONG_BINGET": lambda machine, index: machine.get(index),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.persistent(),
}
_INSTRUCTIONS = {operation.code: operation.name for operation in opcodes}
_KNOWN = {*_CONSTANTS, *_ARGUMENTS, *_STEPS, "STOP"}
_MAKES = {
    "EMPTY_DICT", "EMPTY_LIST", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE", "LIST", "DICT", "REDUCE",
    "BINPERSID",
}  # fmt: skip
_MAPS = {"EMPTY_DICT", "DICT", "REDUCE"}
