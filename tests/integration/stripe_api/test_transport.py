"""Whatever a peer or a network does, a request ends in time, and only what is safe is sent again."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.stripe_api.certificate import self_signed
from tests.integration.stripe_api.conftest import NewGateway
from tests.integration.stripe_api.peer import Peer, Step, answer, drop, flood, half, hang, refuse, reset, trickle
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import Answer, CustomerFact
from worker.errors import TryLater
from worker.stripe_api.errors import AnswerIncomplete, FieldRefused, Unclear
from worker.stripe_api.gateway import StripeGateway

CUSTOMER = {"id": "cus_1", "object": "customer", "created": 1_800_000_000, "metadata": {"subkeeper": "d1"}}


def create(gateway: StripeGateway, key: str = "key-1", seconds: float = 30) -> Answer[CustomerFact]:
    deadline = Deadline.after(seconds)
    return gateway.create_customer({"email": "ada@example.org"}, key=key, lane=Lane.LIVE, deadline=deadline)


@contextmanager
def taking(least: float, most: float) -> Iterator[None]:
    """The block takes between so many seconds; a few more where the machine is busy, never the 30 of `create`."""
    began = time.monotonic()
    yield
    assert least <= time.monotonic() - began <= most + 5


@pytest.mark.parametrize(
    "step", [hang, trickle(), trickle(headers=True)], ids=["no answer", "slow body", "slow headers"]
)
def test_an_answer_that_takes_for_ever_ends_with_the_requests_time(new_gateway: NewGateway, step: Step) -> None:
    with Peer(step) as peer, taking(0.4, 1.5), pytest.raises(Unclear, match="stripe_timeout"):
        create(new_gateway(peer.url, timeout=0.5))
    assert len(peer.requests) == 1


def test_a_request_ends_before_the_deadline_however_long_its_own_timeout(new_gateway: NewGateway) -> None:
    with Peer(hang) as peer, taking(0.5, 1.2), pytest.raises(Unclear, match="stripe_timeout"):
        create(new_gateway(peer.url), seconds=1)


def test_near_the_deadline_nothing_is_sent(new_gateway: NewGateway) -> None:
    with Peer(answer(CUSTOMER)) as peer, pytest.raises(TryLater):
        create(new_gateway(peer.url), seconds=0.2)
    assert peer.requests == []


@pytest.mark.parametrize("step", [drop, reset, half, answer("<html>", 502)])
def test_a_connection_that_breaks_is_tried_again_at_once_with_the_same_key(new_gateway: NewGateway, step: Step) -> None:
    with Peer(step, step, answer(CUSTOMER)) as peer, taking(0.1, 1.9):
        assert create(new_gateway(peer.url)).value.id == "cus_1"
    assert [request.headers["idempotency-key"] for request in peer.requests] == ["key-1"] * 3


def test_an_answer_after_a_retry_may_show_what_the_first_attempt_did(new_gateway: NewGateway) -> None:
    with Peer(drop, drop, answer(CUSTOMER)) as peer:
        found = create(new_gateway(peer.url))
    assert (found.seen_to - found.seen_from).total_seconds() > 2.1


def test_a_peer_that_keeps_breaking_connections_is_left_alone_within_two_seconds(new_gateway: NewGateway) -> None:
    with Peer(drop) as peer, taking(0.5, 2.0), pytest.raises(Unclear, match="stripe_connection"):
        create(new_gateway(peer.url))
    assert 3 <= len(peer.requests) <= 7


def test_nobody_listening_is_unclear(new_gateway: NewGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with taking(0.5, 2.0), pytest.raises(Unclear) as unclear:
        create(new_gateway(url))
    assert str(unclear.value) == f"stripe_connection: no connection to {url} (Connection refused)"


def test_a_host_that_has_no_address_is_unclear(new_gateway: NewGateway) -> None:
    with pytest.raises(Unclear, match=r"^stripe_connection: no connection to https://nowhere\.invalid \(Name "):
        create(new_gateway("https://nowhere.invalid"), seconds=5)


def test_connections_are_kept(new_gateway: NewGateway) -> None:
    with Peer(answer(CUSTOMER)) as peer:
        gateway = new_gateway(peer.url)
        for number in range(5):
            create(gateway, f"key-{number}")
    assert peer.connections == 1


def test_a_connection_that_was_closed_while_idle_is_no_failure(new_gateway: NewGateway) -> None:
    with Peer(answer(CUSTOMER, close=True)) as peer:
        gateway = new_gateway(peer.url)
        for number in range(3):
            create(gateway, f"key-{number}")
    assert [request.headers["idempotency-key"] for request in peer.requests] == ["key-0", "key-1", "key-2"]


def test_a_connection_that_failed_is_not_used_again(new_gateway: NewGateway) -> None:
    with Peer(hang, answer(CUSTOMER)) as peer:
        gateway = new_gateway(peer.url, timeout=0.3)
        with pytest.raises(Unclear):
            create(gateway)
        assert create(gateway).value.id == "cus_1"
    assert [request.connection for request in peer.requests] == [1, 2]


def test_a_redirect_is_not_followed(new_gateway: NewGateway) -> None:
    with (
        Peer(answer(CUSTOMER)) as elsewhere,
        Peer(answer("", 307, {"Location": f"{elsewhere.url}/v1/customers"})) as peer,
        pytest.raises(Unclear, match="stripe_status_307"),
    ):
        create(new_gateway(peer.url))
    assert elsewhere.requests == []


def test_a_body_without_an_end_is_cut_off(new_gateway: NewGateway) -> None:
    with Peer(flood) as peer, taking(0, 5), pytest.raises(Unclear, match="stripe_answer_size"):
        create(new_gateway(peer.url))


def test_an_answer_that_is_no_json_is_unclear(new_gateway: NewGateway) -> None:
    with Peer(answer("<html>welcome to the hotel's network")) as peer, pytest.raises(Unclear, match="200"):
        create(new_gateway(peer.url))


@pytest.mark.parametrize("length", [1, 64 * 1024])
def test_an_answer_of_any_length_is_read_alike(new_gateway: NewGateway, length: int) -> None:
    padding = {"description": "x" * length}
    with Peer(answer({**CUSTOMER, **padding})) as peer:
        assert create(new_gateway(peer.url)).value.id == CUSTOMER["id"]
    for wrong in ("{" + "x" * length, "[" * length, '"' + "x" * length + '"'):
        with Peer(answer(wrong)) as peer, pytest.raises((Unclear, AnswerIncomplete)):
            create(new_gateway(peer.url))
    said = {"error": {"type": "invalid_request_error", "param": "email", **padding}}
    with Peer(answer(said, 400)) as peer, pytest.raises(FieldRefused):
        create(new_gateway(peer.url))


def test_a_certificate_that_nobody_vouches_for_is_refused(new_gateway: NewGateway, tmp_path: Path) -> None:
    with (
        Peer(answer(CUSTOMER), tls=self_signed(tmp_path)) as peer,
        pytest.raises(Unclear, match=r"https://.*self.signed"),
    ):
        create(new_gateway(peer.url), seconds=5)
    assert peer.requests == []


def test_a_trusted_certificate_is_accepted(
    new_gateway: NewGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(context.certificate))
    with Peer(answer(CUSTOMER), tls=context) as peer:
        assert create(new_gateway(peer.url.replace("127.0.0.1", "localhost"))).value.id == "cus_1"


def test_a_tls_handshake_that_never_ends_is_bounded(new_gateway: NewGateway) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        taking(0.3, 1.5),
        pytest.raises(Unclear, match="stripe_timeout"),
    ):
        create(new_gateway(f"https://127.0.0.1:{silent.getsockname()[1]}", timeout=0.5))


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_ipv6_works(new_gateway: NewGateway) -> None:
    with Peer(answer(CUSTOMER), host="::1") as peer:
        assert create(new_gateway(peer.url)).value.id == "cus_1"


def test_what_is_sent(new_gateway: NewGateway) -> None:
    with Peer(answer(CUSTOMER), refuse(400, type="invalid_request_error")) as peer:
        create(new_gateway(peer.url))
    sent = peer.requests[0]
    assert (sent.method, sent.path, sent.params) == ("POST", "/v1/customers", {"email": "ada@example.org"})
    assert sent.headers["stripe-version"] == "2026-08-26.dahlia"
    assert sent.headers["authorization"] == "Bearer sk_test_1"
    assert "x-stripe-client-telemetry" not in sent.headers
    assert "telemetry_id" not in sent.headers["x-stripe-client-user-agent"]
