"""A rotation of SUBKEEPER_SECRET_KEY: between any two steps of it, some process lacks the key of some row."""

from __future__ import annotations

from pathlib import Path

from tests.support.stack import SECRET_KEY, Stack, profile, users
from tests.support.waiting import wait_until
from worker.sealing import Sealer

NEW_KEY = "another-example-of-a-secret-key-of-32-characters-or-more"


def header_of(key: str) -> bytes:
    (header,) = Sealer([key]).headers
    return header


def absorb_only(stack: Stack, *names: str, key: str) -> None:
    """Their rows are written under `key`, and wait."""
    stack.control.fault("status", status=503, match={"path": "/v1/customers"})
    worker = stack.start_worker(SUBKEEPER_SECRET_KEY=key)
    stack.publish(*[profile(name) for name in names])
    wait_until(lambda: all(stack.ledger(name) for name in names))
    worker.stop()
    stack.control.clear_faults()
    stack.expire_leases()


def test_rows_wait_for_a_process_that_has_their_key_and_the_others_go_on(stack: Stack) -> None:
    names = users(3, "new-key")
    absorb_only(stack, *names, key=NEW_KEY)
    behind = stack.start_worker()
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    wait_until(lambda: behind.metric("subkeeper_unopenable_profiles") == len(names))
    assert {stack.ledger(name)["state"] for name in names} == {"pending"}
    assert behind.is_healthy()
    stack.start_worker(SUBKEEPER_SECRET_KEY=f"{NEW_KEY},{SECRET_KEY}")
    stack.await_completed(*names)
    stack.assert_exactly_one("ada", *names)
    wait_until(lambda: behind.metric("subkeeper_unopenable_profiles") == 0)


def test_a_row_whose_key_was_lost_between_the_steps_is_settled_all_the_same(stack: Stack) -> None:
    """Its second step opens nothing."""
    stack.control.fault("status", status=503, match={"path": "/v1/subscriptions"})
    worker = stack.start_worker(SUBKEEPER_SECRET_KEY=NEW_KEY)
    stack.publish(profile("ada"))
    stack.await_state("ada", "customer_created")
    worker.stop()
    stack.control.clear_faults()
    stack.expire_leases()
    stack.start_worker()
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")


def test_a_key_file_that_is_changed_is_followed_without_a_restart(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "secret_key"
    file.write_text(SECRET_KEY)
    names = users(2, "new-key")
    absorb_only(stack, *names, key=NEW_KEY)
    worker = stack.start_worker(SUBKEEPER_SECRET_KEY="", SUBKEEPER_SECRET_KEY_FILE=str(file))
    wait_until(lambda: worker.metric("subkeeper_unopenable_profiles") > 0)
    file.write_text(f"{NEW_KEY},{SECRET_KEY}")
    stack.await_completed(*names)
    stack.control.fault("status", status=503, match={"path": "/v1/customers"})
    stack.publish(profile("ada"))
    wait_until(lambda: stack.ledger("ada"))
    assert bytes(stack.ledger("ada")["customer_request"]).startswith(header_of(NEW_KEY))


def test_a_key_file_that_is_gone_is_told_and_the_keys_that_were_read_go_on(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "secret_key"
    file.write_text(SECRET_KEY)
    worker = stack.start_worker(SUBKEEPER_SECRET_KEY="", SUBKEEPER_SECRET_KEY_FILE=str(file))
    wait_until(worker.is_ready)
    file.unlink()
    wait_until(lambda: not worker.part("sealing_key")[0])
    assert not worker.is_healthy()
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    file.write_text(SECRET_KEY)
    wait_until(worker.is_ready)
