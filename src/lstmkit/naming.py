"""The names that people give the weights of an LSTM cell, and the layouts that go with them.

`SCHEMES` lists them; the module `lstmkit.conventions`, which uses them, shows the six families.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

ORDERS = {
    "ifgo": "PyTorch, Keras",
    "ifog": "CS231n",
    "iofg": "ONNX",
    "figo": "others",
}
"""The orders in which gates are stacked, and who does."""

ORIENTATIONS = {"Wx": "W·x, one row a unit", "xW": "x·W, one column a unit"}
CONCATS = {"hx": "[h; x]", "xh": "[x; h]"}
ROLES = {"W=x": "W for x, U for h", "W=h": "W for h, U for x"}
VECTORS = ("flat", "column", "row")


@dataclass(frozen=True)
class Convention:
    """How somebody names and lays out the weights of one LSTM cell.

    Attributes
    ----------
    family : str
        ``"A"`` to ``"F"``, see the module.
    matrices : tuple of tuples of str
        One tuple of names where a matrix acts on h and x together, two (for x, for h) where they
        are apart. A tuple has the names of the gates i, f, g, o, or one name where they are fused.
    biases : tuple of tuples of str
        No, one or two tuples; two are added.
    orientation : str
        ``"Wx"`` or ``"xW"``.
    concat : str or None
        ``"hx"`` or ``"xh"``; None where h and x are apart.
    order : str or None
        Order of the fused gates, such as ``"ifgo"``; None where every gate has its own matrix.
    vectors : str
        Biases are ``"flat"`` (H,), ``"column"`` (H, 1) or ``"row"`` (1, H).
    """

    family: str
    matrices: tuple[tuple[str, ...], ...]
    biases: tuple[tuple[str, ...], ...]
    orientation: str = "Wx"
    concat: str | None = None
    order: str | None = None
    vectors: str = "flat"

    def describe(self) -> str:
        """Say in one line what was found.

        >>> by_names({"Wf", "WC", "bC"})[0].describe()
        'family A (Wi Wf WC Wo, bi bf bC bo): (H, H+I), W·x on [h; x], flat biases'
        """
        names = ", ".join(" ".join(group) for group in (*self.matrices, *self.biases))
        wide = "4H" if self.order else "H"
        if self.concat is not None:
            shapes = [(wide, "H+I")]
        else:
            shapes = [(wide, "I"), (wide, "H")]
        if self.orientation == "xW":
            shapes = [shape[::-1] for shape in shapes]
        words = [" and ".join(f"({rows}, {columns})" for rows, columns in shapes)]
        product = "W·x" if self.orientation == "Wx" else "x·W"
        words.append(product + (f" on {CONCATS[self.concat]}" if self.concat else ""))
        if self.order:
            words.append(f"gates in the order {', '.join(self.order)}")
        words.append(f"{self.vectors} biases" if self.biases else "no biases")
        return f"family {self.family} ({names}): {', '.join(words)}"


# ---------------------------------------------------------------------------- names alone


def _schemes() -> Iterator[Convention]:
    """Every set of names that we know; what its names alone settle is filled in."""
    for mark in ("", "_"):
        for g in ("c", "C", "g", "a"):

            def four(prefix: str, suffix: str = "", i: str = "i", g: str = g) -> tuple[str, ...]:
                return tuple(prefix + gate + suffix for gate in (i, "f", g, "o"))

            b = (four(f"b{mark}"),)
            yield Convention("B" if mark else "A", (four(f"W{mark}"),), b, concat="hx")
            update = four(f"W{mark}", i="u")
            biases = (four(f"b{mark}", i="u"),)
            yield Convention("F", (update,), biases, orientation="xW", concat="hx")
            for second in ("U", "R"):
                yield Convention("C", (four(f"W{mark}"), four(f"{second}{mark}")), b)
            yield Convention("D", (four(f"W{mark}x"), four(f"W{mark}h")), b)
            yield Convention("D", (four(f"W{mark}", "x"), four(f"W{mark}", "h")), b)
            yield Convention("D", (four(f"U{mark}x"), four(f"U{mark}h")), b)
            two = (four(f"b{mark}i"), four(f"b{mark}h"))
            yield Convention("D", (four(f"W{mark}i"), four(f"W{mark}h")), two)
            yield Convention("D", (four(f"W{mark}i"), four(f"W{mark}h")), b)
    for x, h in (("Wx", "Wh"), ("W_x", "W_h"), ("Wxh", "Whh"), ("W_xh", "W_hh")):
        yield Convention("E", ((x,), (h,)), (("b",),))
        yield Convention("E", ((x,), (h,)), (("bias",),))
    yield Convention("E", (("W_ih",), ("W_hh",)), (("b_ih",), ("b_hh",)), order="ifgo")  # PyTorch's
    yield Convention("E", (("W_ih",), ("W_hh",)), (("b",),), order="ifgo")
    for tail in ("", "_l0"):
        names = ((f"weight_ih{tail}",), (f"weight_hh{tail}",))
        torch = Convention("E", names, ((f"bias_ih{tail}",), (f"bias_hh{tail}",)), order="ifgo")
        yield torch
        yield replace(torch, biases=((f"bias{tail}",),))
    keras = (("kernel",), ("recurrent_kernel",))
    yield Convention("E", keras, (("bias",),), orientation="xW", order="ifgo")
    yield Convention("E", (("W",), ("R",)), (("B",),))
    yield Convention("E", (("W",), ("U",)), (("b",),))
    for bias in ("b", "bias"):
        yield Convention("E", (("W",),), ((bias,),), concat="hx")


SCHEMES = tuple(_schemes())


def names_of(scheme: Convention) -> list[str]:
    """List the names of its matrices and biases."""
    return [name for group in (*scheme.matrices, *scheme.biases) for name in group]


def known_names() -> set[str]:
    """Return every name of a weight or a bias in any family."""
    return {name for scheme in SCHEMES for name in names_of(scheme)}


def by_names(names: set[str]) -> list[Convention]:
    """List the schemes that share a name with these, best first; layouts are not settled yet."""

    def rank(scheme: Convention) -> tuple[int, int]:
        own = set(names_of(scheme))
        return -len(own & names), len(own - names)

    return sorted((s for s in SCHEMES if set(names_of(s)) & names), key=rank)


def roles_open(scheme: Convention) -> bool:
    """Whether the names leave open which matrix is for x (W and U do)."""
    return len(scheme.matrices) == 2 and scheme.matrices[1][0][0] == "U" != scheme.matrices[0][0][0]


def layouts(scheme: Convention) -> Iterator[Convention]:
    """Give every layout that goes with a scheme's names, the usual one first.

    Of the names ``Wf Wi Wc Wo`` both orientations and both orders of h and x are given, though
    [h; x] is what is usual; of fused gates every order that somebody is known to use.
    """
    fused = len(scheme.matrices[0]) == 1
    orders: tuple[str | None, ...] = (None,)
    if fused:
        orders = (scheme.order,) if scheme.order else tuple(ORDERS)
    usual = ("xW", "Wx") if scheme.family in "DF" or scheme.orientation == "xW" else ("Wx", "xW")
    concats = ("hx", "xh") if scheme.concat else (None,)
    matrices = [scheme.matrices]
    if roles_open(scheme):
        matrices.append(scheme.matrices[::-1])
    for concat in concats:
        for both in matrices:
            for orientation in usual:
                for order in orders:
                    yield replace(
                        scheme,
                        matrices=both,
                        orientation=orientation,
                        concat=concat,
                        order=order,
                    )
