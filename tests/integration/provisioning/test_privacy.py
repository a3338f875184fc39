"""No personal data and no secret in what outlives a message: logs at every level, and a dump of the database."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import pytest

from sandbox import binaries
from tests.support.stack import SECRET_KEY, Stack, profile
from tests.support.waiting import wait_until

EMAIL, NAME = "marie.curie@sorbonne.example", "Marie Skłodowska-Curie"
PERSONAL = (EMAIL, "marie.curie", NAME, "Skłodowska", "Sk\\u0142odowska", "sorbonne")


def dump(stack: Stack) -> str:
    command = [str(binaries.postgres() / "pg_dump"), "--data-only", "--inserts", f"--dbname={stack.database_url}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def leaks(stack: Stack, text: str) -> list[str]:
    """What of the profile or of the secrets stands in `text`, in plain or in hexadecimal."""
    secrets = (*PERSONAL, stack.stripe.secret_key, SECRET_KEY, "nsq-password")
    lower = text.lower()
    return [word for word in secrets if word.lower() in lower or word.encode().hex() in lower]


def test_a_dump_holds_no_personal_data_before_during_and_after_settling(stack: Stack) -> None:
    stack.control.fault("status", match={"path": "/v1/customers", "method": "POST"}, status=503)
    stack.start_worker()
    poison = f'{{"id": 1, "email": "{EMAIL}", "name": "{NAME}"}}'.encode()
    stack.publish(profile("marie", email=EMAIL, name=NAME), poison)
    wait_until(lambda: stack.requests("POST", "/v1/customers"))
    wait_until(lambda: stack.rows("SELECT 1 FROM quarantined_messages"))
    assert "marie" in dump(stack)
    assert leaks(stack, dump(stack)) == []
    stack.control.clear_faults()
    stack.await_completed("marie")
    stack.assert_exactly_one("marie")
    assert stack.customers("marie")[0]["email"] == EMAIL
    assert leaks(stack, dump(stack)) == []


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_log_line_of_any_trouble_holds_personal_data_or_a_secret(stack: Stack, form: str) -> None:
    """Refusals that quote the email, timeouts, crashes, a database that goes away: all logged, at debug level."""
    faults: list[dict[str, Any]] = [{"kind": "drop", "when": "after"}, {"kind": "partial"}, {"kind": "status"}]
    for fault in faults:
        stack.control.fault(match={"method": "POST"}, times=1, **fault)
    worker = stack.spawn("run", "profiles", SUBKEEPER_LOG__FORMAT=form, STRIPE_LOG="debug", PYTHONWARNINGS="always")
    bodies: list[dict[str, Any] | bytes] = [
        profile("marie", email=EMAIL, name=NAME),
        profile("refused", email=f"{EMAIL} <not an address>", name=NAME),
        f'{{"id": "poison", "email": ["{EMAIL}"], "name": "{NAME}"}}'.encode(),
        f'{{"id": "poison", "email": "{EMAIL}", "name": "{NAME}"'.encode(),
    ]
    stack.publish(*bodies)
    stack.await_completed("marie", "refused")
    stack.rows("ALTER TABLE provisionings RENAME COLUMN customer_request TO gone")
    stack.publish(profile("crash", email=EMAIL, name=NAME))
    wait_until(lambda: "batch.refused" in worker.text)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text
    assert "message.quarantined" in worker.text
    assert "stripe_call.failed" in worker.text
    assert leaks(stack, worker.text) == []


def test_a_worker_that_is_refused_at_its_start_prints_no_secret(stack: Stack) -> None:
    worker = stack.spawn(
        "run",
        "profiles",
        SUBKEEPER_DATABASE__URL="postgresql://someone:nsq-password@127.0.0.1:1/nothing",
        SUBKEEPER_NSQ__AUTH_SECRET="nsq-password",
    )
    wait_until(lambda: worker.logged("health.changed"))
    worker.send(signal.SIGTERM)
    worker.wait(15)
    assert leaks(stack, worker.text) == []
