"""What is wrong with a configuration, all of it at once, each problem under the key as its writer knows it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence

from pydantic import ValidationError

from worker.domain.address import NotAnAddress
from worker.errors import Misconfigured
from worker.settings.keys import Key, KeyPath
from worker.settings.values import BadValueError

_DEFAULT_FIX = "Correct it; config.example.toml shows every key with its default and unit"

_WORDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "is not a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "is not a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "is neither true nor false"),
    **dict.fromkeys(("list_type", "tuple_type"), 'is not a list, such as ["a", "b"]'),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "is not a table of settings"),
    "extra_forbidden": "is not a setting",
    "finite_number": "is not a finite number",
    "string_type": 'is not a text, such as "a"',
    "string_pattern_mismatch": "does not match {pattern}",
    "literal_error": "is not {expected}",
    "greater_than": "is not more than {gt}",
    "greater_than_equal": "is less than {ge}",
    "less_than": "is not less than {lt}",
    "less_than_equal": "is more than {le}",
}
"""pydantic's kinds of errors in the words of whoever wrote the file; others keep pydantic's."""


class InvalidSettings(Misconfigured):
    """One or more settings cannot be used; `problems` holds all of them, the first also stands for the whole."""

    def __init__(self, problems: Sequence[Misconfigured]) -> None:
        first = problems[0]
        super().__init__(first.key, first.problem, first.fix)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        """One line for each problem."""
        return "\n".join(str(problem) for problem in self.problems)


def translated(
    error: ValidationError, written: Callable[[KeyPath], str], keys: Iterable[Key]
) -> Iterator[Misconfigured]:
    """pydantic's findings as ours, without the values it saw (one may be a secret).

    `written` tells how the user wrote a key (a path such as `("nsq", "channel")`); `keys` are all there are.
    """
    for detail in error.errors(include_url=False, include_input=False):
        path = tuple(part for part in detail["loc"] if isinstance(part, str) and part != "[key]")
        kind, context, said = detail["type"], detail.get("ctx", {}), detail["msg"]
        problem = _WORDS[kind].format(**context) if kind in _WORDS else said[:1].lower() + said[1:]
        fix = _known_instead(path, keys) if kind == "extra_forbidden" else _DEFAULT_FIX
        if isinstance(cause := context.get("error"), BadValueError | NotAnAddress):
            problem, fix = str(cause), cause.fix
        yield Misconfigured(written(path), problem, fix)


def _known_instead(path: KeyPath, keys: Iterable[Key]) -> str:
    known = sorted({key.path[len(path) - 1] for key in keys if key.lies_in(path[:-1])})
    near = suggestion(path[-1], known)
    return f"Did you mean {near}?" if near else f"Remove it; known here: {', '.join(known)}"


def suggestion(name: str, candidates: Sequence[str]) -> str | None:
    """The nearest known name, or None if nothing is near."""
    return next(iter(difflib.get_close_matches(name, candidates, n=1, cutoff=0.65)), None)
