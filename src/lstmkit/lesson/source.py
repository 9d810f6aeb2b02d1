"""What a learner's source shows without running it: which function uses which."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from lstmkit.lesson.program import Program

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(program: Program) -> Iterator[Function]:
    """Give every function and method, inner ones too."""
    for tree in program.trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def used_by(program: Program, name: str) -> set[str]:
    """Give the names that a function or a method uses, itself or through others of the program.

    Parameters
    ----------
    program : Program
    name : str
        The function's or the method's own name; those of one name count as one.
    """
    uses: dict[str, set[str]] = {}
    for function in functions(program):
        found = uses.setdefault(function.name, set())
        for part in function.body:
            for node in ast.walk(part):
                if isinstance(node, ast.Name):
                    found.add(node.id)
                elif isinstance(node, ast.Attribute):
                    found.add(node.attr)
    reached, left = set[str](), [name]
    while left:
        for other in uses.get(left.pop(), set()) - reached:
            reached.add(other)
            left.append(other)
    return reached
