"""What is wrong with a command line itself, in one line: an option too many, an argument too few.

typer shows such an error in a box of several lines. It has no public name for the class of these
errors; they are known by ``format_message``. What they say changes from one typer to the next, so
the line is put together here from what they hold.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from lstmkit.showing import shown

_SHORTER = {
    "Input should be ": "expected ",
    "Value error, ": "",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "a valid ": "a ",
    "a integer": "an integer",
}


def line(error: Exception, root: Any) -> str | None:
    """Return one line about an error in how a command is called; None for any other error.

    None also where the help is shown, since nothing at all was given. ``root`` is the context of
    the whole command line, None where it could not be made.
    """
    if not hasattr(error, "format_message") or type(error).__name__ == "NoArgsIsHelpError":
        return None
    context: Any = getattr(error, "ctx", None)
    if context is not None:
        path, parameters = context.command_path.partition(" ")[2], context.command.params
    elif root is not None and root.invoked_subcommand in root.command.commands:
        path = root.invoked_subcommand
        parameters = root.command.commands[path].params
    else:
        path, parameters = "", []
    whole = " ".join(["lstmkit", *path.split(), "--help"])
    return f"{path}{': ' if path else ''}{_what(error, parameters)} (see {whole})"


def no_command(name: str, known: Iterable[str]) -> str:
    """Return one line about a command that there is not."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else "expected one of those that there are"
    return f"there is no command {shown(name)}; {hint} (see lstmkit --help)"


def _what(error: Any, parameters: list[Any]) -> str:
    message = " ".join(error.message.split()).rstrip(".")
    parameter, option = getattr(error, "param", None), getattr(error, "option_name", None)
    if parameter is not None and not message:
        return f"{_name(parameter)} is not given; expected it{_help(parameter)}"
    if parameter is not None:
        return f"{_name(parameter)}{_rule(error, message)}{_help(parameter)}"
    if option is not None and hasattr(error, "possibilities"):
        names = ["--help"]
        names += [name for one in parameters for name in (*one.opts, *one.secondary_opts)]
        near = difflib.get_close_matches(option, names, 1)
        hint = f"did you mean {near[0]}?" if near else "expected one of those that there are"
        return f"there is no option {shown(option)}; {hint}"
    if option is not None and "not take" in message:
        return f"{shown(option)} is given with a value; expected it alone"
    if option is not None and "requires" in message:
        own = next((_help(one) for one in parameters if option in one.opts), "")
        return f"{shown(option)} is given without a value; expected one{own}"
    extra = re.search(r"unexpected extra argument\S* \((.*)\)$", message)
    if extra is not None:
        known = [_name(one) for one in parameters if one.param_type_name == "argument"]
        return f"{shown(extra[1])} is too much; expected {' '.join(known) or 'options alone'}"
    return shown(_lower(message))


def _rule(error: Any, message: str) -> str:
    """Return what came for a parameter, and what was expected."""
    for long, short in _SHORTER.items():
        message = message.replace(long, short)
    try:
        came = error.__cause__.errors()[0]["input"]
    except (AttributeError, LookupError, TypeError):  # then the message says what came
        return f": {shown(message)}"
    if not message.startswith("expected"):
        return f": {shown(message)}"
    return f" is {shown(came)}; {message.partition(', unable')[0]}"


def _name(parameter: Any) -> str:
    """Return what stands on the command line for a parameter."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return str(max(parameter.opts, key=len))


def _help(parameter: Any) -> str:
    text = (parameter.help or "").strip().rstrip(".")
    return f": {_lower(text)}" if text else ""


def _lower(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
