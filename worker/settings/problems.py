"""What is wrong with a configuration, all of it at once, each problem under the key as its writer knows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from worker.errors import Misconfigured
from worker.settings.values import BadValueError

_DEFAULT_FIX = "Correct it; config.example.toml shows every key with its default and unit"

_WORDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "is not a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "is not a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "is neither true nor false"),
    **dict.fromkeys(("list_type", "tuple_type"), 'is not a list, such as ["a", "b"]'),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "is not a table of settings"),
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


def translated(error: ValidationError, written: Callable[[tuple[str, ...]], str]) -> list[Misconfigured]:
    """pydantic's findings as ours, without the values it saw (one may be a secret).

    `written` tells how the user wrote a key (a path such as `("nsq", "channel")`).
    """
    return [_translate(detail, written) for detail in error.errors(include_url=False, include_input=False)]


def _translate(detail: ErrorDetails, written: Callable[[tuple[str, ...]], str]) -> Misconfigured:
    key = written(tuple(part for part in detail["loc"] if isinstance(part, str) and part != "[key]"))
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, BadValueError):
        return Misconfigured(key, cause.problem, cause.fix)
    words = _WORDS.get(detail["type"])
    said = words.format(**detail.get("ctx", {})) if words else detail["msg"][:1].lower() + detail["msg"][1:]
    return Misconfigured(key, said, _DEFAULT_FIX)
