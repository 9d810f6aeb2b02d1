# What native/module.cpp offers. Shapes and dtypes: native/cell.hpp.
from typing import Any

from lstmkit.shapes import Array

class Kept_float32:
    def __init__(self, options: list[float], weights: dict[str, Array]) -> None: ...
    def of(self, options: list[float], weights: dict[str, Array]) -> bool: ...
    def fill(self, which: int, first: int, units: int, rows: Array) -> None: ...

class Call: ...

class Forward_float32(Call):
    def __init__(
        self,
        options: list[float],
        weights: dict[str, Array],
        arrays: dict[str, Any],
        sizes: list[int],
        rows: int,
        kept: Kept_float32 | None,
    ) -> None: ...

class Backward_float32(Call):
    def __init__(
        self,
        options: list[float],
        weights: dict[str, Array],
        arrays: dict[str, Any],
        sizes: list[int],
        rows: int,
        flow: dict[str, Array],
        gradients: dict[str, Array],
    ) -> None: ...

Kept_float64 = Kept_float32
Forward_float64 = Forward_float32
Backward_float64 = Backward_float32

def run(calls: list[Call]) -> None: ...

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

def linear_float32(
    rows: int, inputs: int, outputs: int, x: Array, weight: Array, bias: Array | None, y: Array
) -> None: ...
def linear_backward_float32(
    rows: int,
    inputs: int,
    outputs: int,
    x: Array,
    weight: Array,
    dy: Array,
    dx: Array,
    dweight: Array,
    dbias: Array | None,
) -> None: ...

linear_float64 = linear_float32
linear_backward_float64 = linear_backward_float32

def apply_float32(function: list[float], z: Array, a: Array, count: int) -> None: ...
def apply_float64(function: list[float], z: Array, a: Array, count: int) -> None: ...
def isa() -> str: ...
def isas() -> list[str]: ...
def set_num_threads(count: int) -> None: ...
def get_num_threads() -> int: ...
