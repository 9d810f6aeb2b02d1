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


def unpacked(program: Program, name: str, argument: str) -> tuple[str, ...] | None:
    """Give the names into which a function takes an argument apart, as in ``W, b = params``.

    Looked for in the function itself, and else in those to which it may pass the argument on.

    Returns
    -------
    tuple of str or None
        None where it is not taken apart; empty where it is, but in a way that gives no one order:
        by number, as in ``params[0]``, nested, or in two orders.
    """
    near = {name}
    for names in (near, used_by(program, name) - near):
        found = set()
        for function in functions(program):
            if function.name in names:
                own = argument if names is near else None
                found |= set(_orders(function, own))
        if found:
            return found.pop() if len(found) == 1 else ()
    return None


def _orders(function: Function, argument: str | None) -> Iterator[tuple[str, ...]]:
    """Give the orders in which one argument, or any, is taken apart in a function."""
    arguments = {arg.arg for arg in (*function.args.args, *function.args.kwonlyargs)}
    wanted = {argument} if argument else {arg for arg in arguments if arg in PARAMS}
    for node in ast.walk(function):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            at = node.slice
            number = isinstance(at, ast.Constant) and type(at.value) is int
            if node.value.id in wanted and number:
                yield ()
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Name):
            continue
        if node.value.id not in wanted:
            continue
        for target in node.targets:
            if isinstance(target, ast.Tuple | ast.List):
                plain = [part.id for part in target.elts if isinstance(part, ast.Name)]
                yield tuple(plain) if len(plain) == len(target.elts) else ()


PARAMS = {"params", "parameters", "weights", "p", "theta"}
