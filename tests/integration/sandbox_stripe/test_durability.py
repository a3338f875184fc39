"""A Stripe of its own process: killed, stopped, started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.stripe.control import Control
from sandbox.stripe.server import StripeServer
from tests.integration.sandbox_stripe.raw import Raw
from tests.integration.sandbox_stripe.receiver import Receiver
from tests.support.waiting import wait_until


@contextmanager
def _process(state_file: Path) -> Iterator[tuple[subprocess.Popen[str], Raw, Control]]:
    command = [sys.executable, "-m", "sandbox.stripe", "--seed", "durable", "--state-file", str(state_file)]
    environment = {name: value for name, value in os.environ.items() if name != "STRIPE_SECRET_KEY"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            said = json.loads(process.stdout.readline())
            url = said["stripe_api_base"]
            yield process, Raw(url, said["stripe_secret_key"]), Control(url)
        finally:
            process.kill()


def test_a_kill_loses_neither_objects_nor_answers_nor_the_clock(tmp_path: Path) -> None:
    state_file = tmp_path / "stripe.jsonl"
    with _process(state_file) as (process, raw, control):
        first = raw("POST", "/v1/customers", {"email": "a@example.com", "metadata[user_id]": "u1"}, key="k")
        raw("DELETE", f"/v1/customers/{raw.post('/v1/customers').body['id']}")
        control.jump(5000)
        before, now = control.state(), control.health()["now"]
        process.kill()
    with _process(state_file) as (process, raw, control):
        assert control.state() == before
        assert control.health()["now"] >= now
        again = raw("POST", "/v1/customers", {"email": "a@example.com", "metadata[user_id]": "u1"}, key="k")
        assert (again.body, again.headers["Idempotent-Replayed"]) == (first.body, "true")
        assert raw.post("/v1/customers").body["id"] not in {row["id"] for row in before["customers"]}


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    state_file = tmp_path / "stripe.jsonl"
    with StripeServer(seed="a", state_file=state_file) as server:
        kept = Raw(server.url, server.secret_key).post("/v1/customers").body["id"]
    with state_file.open("ab") as journal:
        journal.write(b'{"at":1,"put":[{"id":"cus_torn"')
    for _ in range(2):
        with StripeServer(seed="a", state_file=state_file) as server:
            assert [row["id"] for row in Control(server.url).state()["customers"]][:1] == [kept]
            Raw(server.url, server.secret_key).post("/v1/customers")


def test_a_termination_ends_it_cleanly_even_with_a_request_open(tmp_path: Path) -> None:
    with _process(tmp_path / "stripe.jsonl") as (process, raw, control):
        control.fault("hang")
        try:
            raw.post("/v1/customers", timeout=0.2)
        except TimeoutError:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_a_reset_is_an_empty_account_with_new_identifiers(tmp_path: Path) -> None:
    with StripeServer(seed="a", state_file=tmp_path / "s.jsonl") as server:
        raw, control = Raw(server.url, server.secret_key), Control(server.url)
        first = raw.post("/v1/customers", key="k").body["id"]
        control.reset()
        assert control.state()["counts"]["customer"] == 0
        assert raw.post("/v1/customers", key="k").body["id"] != first


def test_duplicates_are_counted_by_user(tmp_path: Path) -> None:
    with StripeServer(seed="a") as server:
        raw = Raw(server.url, server.secret_key)
        for user in ("u1", "u2", "u1"):
            raw("POST", "/v1/customers", {"metadata[user_id]": user})
        assert Control(server.url).duplicates() == {"u1": 2}


def test_a_given_key_is_taken_and_not_repeated() -> None:
    command = [sys.executable, "-m", "sandbox.stripe"]
    environment = {**os.environ, "STRIPE_SECRET_KEY": "sk_test_mine"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert "sk_test_mine" not in line
            assert Raw(json.loads(line)["stripe_api_base"], "sk_test_mine").get("/v1/account").status == 200
        finally:
            process.kill()


def test_a_kill_loses_no_delivery_and_no_endpoint(tmp_path: Path) -> None:
    state_file = tmp_path / "stripe.jsonl"
    with Receiver(status=500) as receiver:
        with _process(state_file) as (process, raw, control):
            made = raw("POST", "/v1/webhook_endpoints", {"url": receiver.url, "enabled_events[0]": "*"}).body
            raw.post("/v1/customers")
            wait_until(lambda: len(control.deliveries()) == 1)
            process.kill()
        receiver.status = 200
        with _process(state_file) as (process, raw, control):
            raw.post("/v1/customers")
            receiver.wait(2)
            control.jump(10 * 60 + 1)
            bodies = [json.loads(each.body)["id"] for each in receiver.wait(3)]
            assert (bodies[2], len(set(bodies))) == (bodies[0], 2)
            assert receiver.taken[1].event(made["secret"]).id == bodies[1]
            wait_until(lambda: raw.get("/v1/events", delivery_success="false").body["data"] == [])
