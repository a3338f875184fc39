"""`subkeeper setup --webhook`: one endpoint of ours, replaced by one beside it, retired once that delivered."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from sandbox.ports import free_port
from sandbox.stripe.control import Control
from tests.support.commands import Commands
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from worker.domain.event import TYPES
from worker.errors import Misconfigured
from worker.runtime.setup import setup
from worker.runtime.webhook_setup import WebhookSetup
from worker.settings.secrets import split_webhook_secrets
from worker.stripe_api.credentials import API_VERSION
from worker.stripe_api.own_endpoints import NotDelivered

URL = "http://127.0.0.1:1/stripe/webhook"
LONG_AFTER = 60.0
OLD = "2026-05-27.dahlia"


def run(stack: Stack, url: str = URL, *, take_over: bool = False, **asked: Any) -> list[str]:
    """What `setup --webhook` says of the endpoint."""
    lines = setup(stack.settings(), stack._rng, take_over=take_over, webhook=WebhookSetup(url, **asked))
    return [line for line in lines if line.startswith("webhook")]


def endpoints(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.call_stripe("GET", "/v1/webhook_endpoints")["data"]
    return found


def make_old(stack: Stack) -> str:
    """An endpoint of ours as a release with another version made it: the same, at that version."""
    run(stack)
    (ours,) = endpoints(stack)
    stack.call_stripe("DELETE", f"/v1/webhook_endpoints/{ours['id']}")
    metadata = {f"metadata[{name}]": value for name, value in ours["metadata"].items()}
    types = {f"enabled_events[{number}]": each for number, each in enumerate(TYPES)}
    old = stack.call_stripe("POST", "/v1/webhook_endpoints", url=URL, api_version=OLD, **types, **metadata)
    return str(old["id"])


def answer_all(control: Control, *, taken: bool) -> None:
    """Whoever is at the URL: takes every delivery from now on, or none."""
    control.clear_mishaps()
    if taken:
        control.mishap("drop", acknowledged=True)


def something_happens(stack: Stack) -> None:
    stack.control.jump(LONG_AFTER)
    stack.call_stripe("POST", "/v1/customers")


def test_it_is_created_with_our_types_and_version_and_its_secret_is_told_once(stack: Stack) -> None:
    stack.call_stripe("POST", "/v1/webhook_endpoints", url=URL, **{"enabled_events[0]": "*"})  # somebody else's
    created, told = run(stack)
    ours, _ = endpoints(stack)
    assert (ours["url"], ours["api_version"], ours["enabled_events"]) == (URL, API_VERSION, list(TYPES))
    assert ours["id"] in created
    entries = split_webhook_secrets("it", told.rpartition(" ")[2])
    assert list(entries) == [ours["id"].lower()]
    (again,) = run(stack)
    assert "is as it should be" in again
    assert len(endpoints(stack)) == 2


def test_the_secret_goes_to_a_new_file_of_its_owner_s(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    said = run(stack, secret_file=file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (secret,) = split_webhook_secrets("it", file.read_text()).values()
    assert secret not in "".join(said)
    *_, told = run(stack, secret_file=tmp_path / "another")
    assert f"{tmp_path / 'another'} was not written" in told


def test_a_file_that_is_there_stays_and_the_secret_is_still_to_be_had(stack: Stack, tmp_path: Path) -> None:
    file, other = tmp_path / "secret", tmp_path / "other"
    file.write_text("mine")
    with pytest.raises(Misconfigured, match="within a day"):
        run(stack, secret_file=file)
    assert file.read_text() == "mine"
    run(stack, secret_file=other)
    assert split_webhook_secrets("it", other.read_text())
    assert len(endpoints(stack)) == 1


def test_a_place_that_cant_be_written_is_told_before_anything_is_made(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="not a directory"):
        run(stack, secret_file=tmp_path / "nowhere" / "secret")
    assert endpoints(stack) == []


def test_types_url_and_status_change_in_place(stack: Stack) -> None:
    run(stack)
    (before,) = endpoints(stack)
    changes = {"enabled_events[0]": "invoice.paid", "disabled": "true"}
    stack.call_stripe("POST", f"/v1/webhook_endpoints/{before['id']}", **changes)
    (line,) = run(stack, URL + "/new")
    (after,) = endpoints(stack)
    assert line.endswith("changed (url, enabled_events, enabled)")
    assert {**after, "metadata": {}} == {**before, "metadata": {}, "url": URL + "/new"}


def test_one_that_was_deleted_is_made_anew_however_well_stripe_remembers(stack: Stack) -> None:
    run(stack)
    (gone,) = endpoints(stack)
    stack.call_stripe("DELETE", f"/v1/webhook_endpoints/{gone['id']}")
    run(stack)
    (made,) = endpoints(stack)
    assert made["id"] != gone["id"]


def test_another_version_means_a_second_endpoint_and_the_first_goes_once_the_second_delivered(stack: Stack) -> None:
    old = make_old(stack)
    assert any(f"{old}: beside it (at {OLD})" in line for line in run(stack))
    new = next(each["id"] for each in endpoints(stack) if each["id"] != old)
    answer_all(stack.control, taken=False)
    something_happens(stack)
    with pytest.raises(NotDelivered, match=f"{old} stays"):
        run(stack, retire=True)
    answer_all(stack.control, taken=True)
    something_happens(stack)
    assert run(stack, retire=True)[-1] == f"webhook endpoint {old}: deleted"
    assert [each["id"] for each in endpoints(stack)] == [new]
    assert run(stack, retire=True)[-1] == "webhook endpoint: none to retire"


def test_what_was_taken_before_the_url_changed_proves_nothing(stack: Stack) -> None:
    make_old(stack)
    run(stack)
    answer_all(stack.control, taken=True)
    something_happens(stack)
    with pytest.raises(NotDelivered):
        run(stack, URL + "/new", retire=True)
    something_happens(stack)
    run(stack, URL + "/new", retire=True)
    assert len(endpoints(stack)) == 1


def test_a_lost_secret_means_another_endpoint_and_what_nobody_can_verify_is_not_waited_for(stack: Stack) -> None:
    run(stack)
    (lost,) = endpoints(stack)
    told = run(stack, secret_lost=True)
    assert f"webhook endpoint {lost['id']}: disabled, its secret is lost" in told
    assert {each["id"]: each["status"] for each in endpoints(stack)}[lost["id"]] == "disabled"
    answer_all(stack.control, taken=True)
    something_happens(stack)
    run(stack, retire=True)
    assert lost["id"] not in {each["id"] for each in endpoints(stack)}


def test_an_endpoint_of_a_database_that_is_lost_is_taken_over_on_demand_only(stack: Stack) -> None:
    run(stack)
    (ours,) = endpoints(stack)
    another = {"metadata[subkeeper_database]": "another"}
    stack.call_stripe("POST", f"/v1/webhook_endpoints/{ours['id']}", **another)
    with pytest.raises(Misconfigured, match="setup --take-over"):
        run(stack)
    assert run(stack, take_over=True) == [f"webhook endpoint {ours['id']}: changed (database)"]
    assert endpoints(stack)[0]["metadata"] == ours["metadata"]


def test_what_stripe_delivers_then_is_taken_by_a_web_process_with_that_file(stack: Stack, tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "secret"
    run(stack, f"http://127.0.0.1:{port}/stripe/webhook", secret_file=file)
    stack.start_worker("web", SUBKEEPER_WEB__PORT=str(port), STRIPE_WEBHOOK_SECRETS_FILE=str(file))
    stack.call_stripe("POST", "/v1/customers")
    wait_until(lambda: [each["status"] for each in stack.control.deliveries()] == [200])


def test_the_file_that_web_processes_are_to_read_may_be_the_one_that_setup_writes(
    stack: Stack, commands: Commands, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    commands.environ |= {"STRIPE_WEBHOOK_SECRETS_FILE": str(file), "SUBKEEPER_WEB__PORT": str(free_port())}
    for command in (("run", "web"), ("config", "check")):
        too_early = commands(*command)
        assert (too_early.code, f"STRIPE_WEBHOOK_SECRETS_FILE: there is no file {file}" in too_early.err) == (2, True)
        assert "subkeeper setup --webhook URL --webhook-secret-file" in too_early.err
    assert commands("setup", "--webhook", URL, "--webhook-secret-file", file).code == 0
    assert commands("config", "check").code == 0


def test_the_command_prints_the_secret_once_and_says_what_stays(stack: Stack, commands: Commands) -> None:
    assert "STRIPE_WEBHOOK_SECRETS: we_" in commands("setup", "--webhook", URL).out
    again = commands("setup", "--webhook", URL, "--retire")
    assert (again.code, "whsec_" in again.out, "none to retire" in again.out) == (0, False, True)
    assert commands("setup", "--retire").code == 2
    assert commands("setup", "--webhook", "billing.example.com").code == 2


def test_a_key_that_may_not_write_endpoints_is_told_that_only_this_needs_it(stack: Stack) -> None:
    stack.control.put_key("rk_test_processes", ["account_read", "plan_write", "product_write"])
    settings = stack.settings(STRIPE_SECRET_KEY="rk_test_processes")
    with pytest.raises(Misconfigured, match="`setup --webhook` alone"):
        list(setup(settings, stack._rng, webhook=WebhookSetup(URL)))


def test_namespaces_have_endpoints_of_their_own(stack: Stack) -> None:
    run(stack)
    other = stack.settings(SUBKEEPER_NAMESPACE="staging")
    stack.rows("TRUNCATE deployment")  # a database of the other namespace's
    list(setup(other, stack._rng, webhook=WebhookSetup(URL)))
    assert [each["metadata"]["subkeeper_namespace"] for each in endpoints(stack)] == ["staging", "subkeeper"]
