"""The lists of label values are the code's: what is counted under no listed value would have no series until then."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from worker.events import webhook
from worker.provisioning.provisioner import Settled
from worker.stripe_api.errors import StripeFailure
from worker.stripe_api.requestor import _snake
from worker.telemetry import labels
from worker.web import stripe_webhook

WORKER = Path(__file__).parents[3] / "worker"
OF_COMMANDS = {"backfill/records.py", "backfill/publishing.py", "broker/publisher.py", "broker/loop_publisher.py"}
"""What these refuse is told to whoever gave it, and is never put into quarantine."""

REFUSALS = {"FieldRefused", "CustomerGone", "Refused", "TrialRefused", "AnswerIncomplete", "UnknownKey"}
"""Kinds of `Rejected` that know their own reason."""


def _calls(path: Path, callee: str) -> Iterator[ast.expr]:
    """The first argument of each call of `callee` in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) == callee:
            yield node.args[0]


def _own_reasons(path: Path) -> Iterator[ast.expr]:
    """What the refusals that a file defines call themselves."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and node.name in REFUSALS:
            place = {"super().__init__": 0, "Rejected.__init__": 1}  # of the reason among its arguments
            yield from (
                call.args[place[ast.unparse(call.func)]]
                for call in ast.walk(node)
                if isinstance(call, ast.Call) and ast.unparse(call.func) in place
            )


def _pattern(reason: ast.expr) -> str:
    """A regular expression for what a reason's expression can be."""
    if isinstance(reason, ast.JoinedStr):
        return "".join(re.escape(str(v.value)) if isinstance(v, ast.Constant) else "[a-z_]+" for v in reason.values)
    assert isinstance(reason, ast.Constant), f"a reason is a constant or an f-string: {ast.unparse(reason)}"
    return re.escape(str(reason.value))


def _files() -> list[Path]:
    apart = OF_COMMANDS | {"errors.py"}
    return [
        file
        for file in sorted(WORKER.rglob("*.py"))
        if "sandbox" not in file.parts and str(file.relative_to(WORKER)) not in apart
    ]


def _constants(file: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, (WORKER / file).read_text()))


PATTERNS = sorted(
    {_pattern(reason) for file in _files() for reason in _calls(file, "Rejected")}
    | {
        _pattern(reason)
        for file in ("stripe_api/errors.py", "events/envelope.py")
        for reason in _own_reasons(WORKER / file)
    }
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_reason_of_quarantine_in_the_code_is_listed(pattern: str) -> None:
    assert any(re.fullmatch(pattern, reason) for reason in labels.QUARANTINE_REASONS)


def test_a_listed_reason_of_quarantine_is_in_the_code() -> None:
    spoken = [*PATTERNS, *_constants("provisioning/provisioner.py", r'(?:else|return) "(\w+)"')]
    unspoken = {reason for reason in labels.QUARANTINE_REASONS if not any(re.fullmatch(p, reason) for p in spoken)}
    assert unspoken == set()


def test_every_field_of_a_message_has_its_reasons() -> None:
    fields = _constants("domain/profile.py", r'_text\("(\w+)"')
    assert fields
    wanted = {f"{field}_{problem}" for field in fields for problem in ("not_text", "too_long", "unstorable")}
    assert wanted - set(labels.QUARANTINE_REASONS) == set()


def test_the_outcomes_of_settling_are_those_of_the_code() -> None:
    dispatcher = _constants("work/dispatcher.py", r'Ended\("(\w+)"\)|"(\w+)", 0\.0\)')
    spoken = {word for pair in dispatcher for word in pair if word} | set(Settled)
    assert spoken == set(labels.SETTLE_OUTCOMES)


def test_the_outcomes_of_messages_are_those_of_the_code() -> None:
    spoken = {
        word
        for file in ("provisioning/inbox.py", "domain/messages.py")
        for word in _constants(file, r'topic, "(\w+)"\)')
    }
    assert spoken == set(labels.MESSAGE_OUTCOMES)


def test_stripe_s_operations_and_outcomes_are_those_of_the_code() -> None:
    operations = {word for file in WORKER.glob("stripe_api/*.py") for word in _operations(file)}
    assert operations == set(labels.STRIPE_OPERATIONS)
    assert {"ok", *(_snake(kind.__name__) for kind in get_args(StripeFailure))} == set(labels.STRIPE_OUTCOMES)


def _operations(file: Path) -> set[str]:
    return {str(each.value) for each in _calls(file, "Call") if isinstance(each, ast.Constant)}


def test_the_reasons_of_disconnects_are_those_of_the_code() -> None:
    found = {_pattern(reason) for file in sorted(WORKER.glob("broker/*.py")) for reason in _calls(file, "Broken")}
    assert found == set(labels.DISCONNECT_REASONS)


def test_the_outcomes_of_deliveries_are_those_of_the_code() -> None:
    files = ("domain/webhook.py", "events/webhook.py")
    refused = {_pattern(reason) for file in files for reason in _calls(WORKER / file, "WebhookRefused")}
    answered = {stripe_webhook.PUBLISHED, webhook.CONNECT, webhook.TYPE_UNKNOWN}
    of_http = _constants("web/stripe_webhook.py", r'(?:HTTPStatus\.\w+(?:,|:)|delivery\() ?"(\w+)"')
    assert refused | answered | of_http == set(labels.WEBHOOK_OUTCOMES)
