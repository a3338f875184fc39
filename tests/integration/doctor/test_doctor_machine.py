"""What the doctor finds on this machine: secrets and ports."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from sandbox.ports import free_port
from tests.integration.doctor.conftest import Examine
from tests.support.stack import SECRET_KEY, Stack
from worker.runtime.doctor.findings import Bounded, Findings, Verdict, ok
from worker.runtime.doctor.ports import check_ops


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (0o600, None),
        (0o400, None),
        (0o440, None),
        (0o644, "be read by every user of this machine"),
        (0o620, "be written by others"),
        (0o666, "be written by others"),
    ],
)
def test_a_secret_that_others_can_get_at_is_warned_of(
    stack: Stack, examined: Examine, tmp_path: Path, mode: int, said: str | None
) -> None:
    file = tmp_path / "stripe-secret-key"
    file.write_text(stack.stripe.secret_key)
    file.chmod(mode)
    found = examined(stack, STRIPE_SECRET_KEY="", STRIPE_SECRET_KEY_FILE=str(file)).one("secrets")
    assert found.verdict is (Verdict.WARNING if said else Verdict.OK)
    assert (said or "") in found.detail
    assert found.fix == (f"chmod 600 {file}" if said else "")


def test_a_missing_sealing_key_is_a_problem(stack: Stack, examined: Examine) -> None:
    found = examined(stack, SUBKEEPER_SECRET_KEY="")
    assert found.unwell == {"secrets": Verdict.PROBLEM}
    assert "SUBKEEPER_SECRET_KEY" in found.one("secrets").detail


def test_a_health_port_of_somebody_else_is_a_problem(stack: Stack, examined: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = examined(stack, SUBKEEPER_HEALTH__PORT=str(port)).one("health")
    assert (found.verdict, f"127.0.0.1:{port}" in found.detail) == (Verdict.PROBLEM, True)
    assert examined(stack, SUBKEEPER_HEALTH__PORT=str(port)).one("health").detail == f"127.0.0.1:{port} is free"


def test_a_worker_that_is_not_ready_is_told_from_one_that_is(stack: Stack, examined: Examine) -> None:
    worker = stack.start_worker(SUBKEEPER_DATABASE__URL="postgresql://nobody@127.0.0.1:1/nothing")
    found = examined(stack, SUBKEEPER_HEALTH__PORT=str(worker.port)).one("health")
    assert (found.verdict, "a worker that is not ready" in found.detail) == (Verdict.WARNING, True)


def test_a_health_address_of_another_machine_is_a_problem(stack: Stack, examined: Examine) -> None:
    found = examined(stack, SUBKEEPER_HEALTH__HOST="192.0.2.1", SUBKEEPER_HEALTH__PORT="9464").one("health")
    assert (found.verdict, "192.0.2.1" in found.detail) == (Verdict.PROBLEM, True)
    assert found.fix


@pytest.mark.parametrize(("secrets", "verdict"), [("main=whsec_" + 32 * "a", Verdict.PROBLEM), ("", Verdict.WARNING)])
def test_a_webhook_s_port_of_somebody_else_is_a_problem_where_the_webhook_is_served(
    stack: Stack, examined: Examine, secrets: str, verdict: Verdict
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = examined(stack, SUBKEEPER_WEB__PORT=str(port), STRIPE_WEBHOOK_SECRETS=secrets).one("web")
    assert (found.verdict, f"127.0.0.1:{port}" in found.detail) == (verdict, True)


def test_a_webhook_on_the_health_port_is_a_problem_and_a_running_one_is_known(stack: Stack, examined: Examine) -> None:
    port, secrets = str(free_port()), "main=whsec_" + 32 * "a"
    both = {"SUBKEEPER_WEB__PORT": port, "SUBKEEPER_HEALTH__PORT": port, "STRIPE_WEBHOOK_SECRETS": secrets}
    found = examined(stack, **both).one("web")
    assert (found.verdict, "as health.port is" in found.detail) == (Verdict.PROBLEM, True)
    stack.start_worker("web", SUBKEEPER_WEB__PORT=port)
    found = examined(stack, SUBKEEPER_WEB__PORT=port).one("web")
    assert (found.verdict, "a worker that serves the webhook" in found.detail) == (Verdict.WARNING, True)


REMOTE = {"SUBKEEPER_STRIPE__API_BASE": "https://api.stripe.com"}
SIGNED = {"STRIPE_WEBHOOK_SECRETS": "main=whsec_" + 32 * "a"}
ORIGINS = {"SUBKEEPER_API__RETURN_ORIGINS": '["https://app.example.org"]'}


@pytest.mark.parametrize(
    ("environ", "is_told"),
    [
        ({}, False),
        (SIGNED, False),
        (REMOTE | SIGNED, True),
        (REMOTE | SIGNED | {"SUBKEEPER_WEB__OPS": "token"}, False),
        (REMOTE | SIGNED | {"SUBKEEPER_WEB__OPS": "loopback"}, False),
        (REMOTE | SIGNED | {"SUBKEEPER_WEB__HOST": "0.0.0.0"}, False),
        (ORIGINS, True),
        ({"SUBKEEPER_API__RETURN_ORIGINS": '["http://localhost:3000"]'}, False),
    ],
)
def test_an_ops_page_that_may_be_open_behind_a_proxy_is_warned_of(
    stack: Stack, environ: dict[str, str], is_told: bool
) -> None:
    """By what is configured for others than this machine: they come by what passes it on."""
    found = list(check_ops(stack.settings(**environ)))
    assert [(each.check, each.verdict) for each in found] == [("ops", Verdict.WARNING)] * is_told
    assert all('web.ops = "token"' in each.fix for each in found)


def test_the_doctor_looks_at_the_ops_page(stack: Stack, examined: Examine) -> None:
    assert examined(stack).of("ops") == []
    assert examined(stack, **ORIGINS).unwell == {"ops": Verdict.WARNING}


def test_no_value_of_a_secret_is_told(stack: Stack, examined: Examine) -> None:
    text = str(examined(stack, SUBKEEPER_NSQ__AUTH_SECRET="nsq-swordfish").findings)
    assert not [each for each in (SECRET_KEY, stack.stripe.secret_key, "nsq-swordfish") if each in text]


def test_a_check_that_fails_for_a_bug_hides_no_other() -> None:
    def broken() -> Findings:
        yield ok("one", "is told")
        raise ZeroDivisionError

    told = list(Bounded("one", broken).results(time.monotonic() + 10))
    assert [each.verdict for each in told] == [Verdict.OK, Verdict.PROBLEM]
    assert "ZeroDivisionError" in told[1].detail


def test_a_part_that_hangs_is_cut_off_where_the_whole_must_end() -> None:
    release = threading.Event()

    def hanging() -> Findings:
        release.wait()
        yield ok("one", "too late")

    [told] = Bounded("one", hanging).results(time.monotonic() + 0.1)
    release.set()
    assert (told.verdict, "no answer in time" in told.detail) == (Verdict.PROBLEM, True)
