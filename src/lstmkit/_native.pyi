# What native/module.cpp offers. Shapes and dtypes: native/cell.hpp.
from typing import Any

from lstmkit.shapes import Array

def forward_float32(
    options: list[float],
    weights: dict[str, Array],
    arrays: dict[str, Any],
    sizes: list[int],
    rows: int,
    taped: bool,
) -> None: ...
def backward_float32(
    options: list[float],
    weights: dict[str, Array],
    arrays: dict[str, Any],
    sizes: list[int],
    rows: int,
    flow: dict[str, Array],
    gradients: dict[str, Array],
) -> None: ...

forward_float64 = forward_float32
backward_float64 = backward_float32

class Kept_float32:
    def __init__(self, options: list[float], weights: dict[str, Array]) -> None: ...
    def forward(
        self,
        options: list[float],
        weights: dict[str, Array],
        arrays: dict[str, Any],
        sizes: list[int],
        rows: int,
    ) -> bool: ...

Kept_float64 = Kept_float32

class Memory:
    def __init__(self, size: int) -> None: ...
    __array_interface__: dict[str, Any]

class Steps_float32:
    def __init__(
        self, options: list[list[float]], weights: list[dict[str, Array]], rows: int
    ) -> None: ...
    def bind(self, h: Array, c: Array) -> None: ...
    def step(self, x: Array, y: Array) -> None: ...

Steps_float64 = Steps_float32

def apply_float32(kind: int, z: Array, a: Array, count: int) -> None: ...
def apply_float64(kind: int, z: Array, a: Array, count: int) -> None: ...
def isa() -> str: ...
def isas() -> list[str]: ...
def set_num_threads(count: int) -> None: ...
def get_num_threads() -> int: ...
