"""What the doctor finds at NSQ: each part by itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.nsq import Nsqd, Nsqlookupd, Tls
from tests.conftest import NewNsqd
from tests.integration.broker.test_security import Authority
from tests.integration.doctor.conftest import Examine
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack
from worker.domain.address import Address
from worker.runtime.doctor import nsq
from worker.runtime.doctor.findings import Verdict
from worker.runtime.doctor.nsq import check_limits


@pytest.fixture
def silent() -> Iterator[str]:
    """`host:port` of something that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_missing_channels_are_a_problem_and_are_not_created(new_stack: NewStack, examined: Examine) -> None:
    stack = new_stack()
    found = examined(stack).one("nsqd.channels")
    assert (found.verdict, found.fix) == (Verdict.PROBLEM, "Run `subkeeper setup`")
    assert f"{stack.topic}/subkeeper" in found.detail
    assert f"{stack.backfill_topic}/subkeeper" in found.detail
    assert stack.topic not in stack.nsqd.http("GET", "/stats", format="json").decode()
    stack.setup()
    assert examined(stack).unwell == {}


@pytest.mark.parametrize("what", ["channel", "topic"])
def test_what_is_paused_is_a_problem(stack: Stack, examined: Examine, what: str) -> None:
    stack.nsqd.http("POST", f"/{what}/pause", topic=stack.topic, channel="subkeeper")
    found = examined(stack).one("nsqd.channels")
    assert (found.verdict, "nothing comes" in found.detail) == (Verdict.PROBLEM, True)
    assert stack.backfill_topic not in found.detail


def test_an_nsqd_that_is_away_or_silent_hides_no_other(stack: Stack, examined: Examine, silent: str) -> None:
    addresses = f"127.0.0.1:1,{silent},{stack.nsqd.tcp_address}"
    began = time.monotonic()
    found = examined(
        stack,
        SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES=addresses,
        SUBKEEPER_NSQ__CONNECT_TIMEOUT="1",
        SUBKEEPER_NSQ__LOOKUPD_TIMEOUT="1",
    )
    assert time.monotonic() - began < 20
    by_address = {address: each.verdict for each in found.of("nsqd") for address in addresses.split(",")
                  if address in each.detail}  # fmt: skip
    assert by_address == {
        "127.0.0.1:1": Verdict.PROBLEM,
        silent: Verdict.PROBLEM,
        stack.nsqd.tcp_address: Verdict.OK,
    }


def test_what_outlasts_every_timeout_is_cut_off_and_the_rest_is_told(
    stack: Stack, examined: Examine, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nsq, "PATIENCE", 2.0)
    found = examined(
        stack, patience=20.0, SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES=silent, SUBKEEPER_NSQ__CONNECT_TIMEOUT="60",
        SUBKEEPER_NSQ__NSQD_HTTP_ADDRESSES="",
    )  # fmt: skip
    assert f"{silent}: no answer in time" in found.of("nsqd")[-1].detail
    assert found.one("stripe").verdict is Verdict.OK
    assert found.one("health").verdict is Verdict.OK


def test_each_nsqlookupd_is_asked_by_itself(
    stack: Stack, nsqlookupd: Nsqlookupd, new_nsqlookupd: Callable[[], Nsqlookupd], examined: Examine
) -> None:
    addresses = f"127.0.0.1:1,{nsqlookupd.http_address}"
    found = examined(
        stack, SUBKEEPER_NSQ__LOOKUPD_HTTP_ADDRESSES=addresses, SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES="",
        SUBKEEPER_NSQ__NSQD_HTTP_ADDRESSES="",
    )  # fmt: skip
    assert [each.verdict for each in found.of("nsqlookupd")] == [Verdict.PROBLEM, Verdict.OK]
    assert found.one("nsqd").verdict is Verdict.OK, "found by the other one"
    empty = new_nsqlookupd()
    found = examined(
        stack, SUBKEEPER_NSQ__LOOKUPD_HTTP_ADDRESSES=empty.http_address, SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES="",
        SUBKEEPER_NSQ__NSQD_HTTP_ADDRESSES="",
    )  # fmt: skip
    assert "no nsqd is known" in found.one("nsqd").detail


def test_tls_and_auth_are_tried_as_a_worker_would(
    new_nsqd: NewNsqd, new_stack: NewStack, examined: Examine, tmp_path: Path
) -> None:
    (tmp_path / "authority").mkdir()
    authority = Authority(tmp_path / "authority")
    stack = new_stack(nsqd=new_nsqd(tls=Tls(*authority.issue("nsqd", ip="127.0.0.1"))))
    for topic in (stack.topic, stack.backfill_topic):
        stack.nsqd.create_channel(topic, "subkeeper")
    assert examined(stack).one("nsqd").verdict is Verdict.PROBLEM, "it asks for TLS"
    tls = {"SUBKEEPER_NSQ__TLS__ENABLED": "true", "SUBKEEPER_NSQ__TLS__CA_FILE": str(authority.file)}
    assert examined(stack, **tls).one("nsqd").verdict is Verdict.OK
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    found = examined(stack, **{**tls, "SUBKEEPER_NSQ__TLS__CA_FILE": str(other.file)}).one("nsqd")
    assert (found.verdict, "tls_failed" in found.detail) == (Verdict.PROBLEM, True)
    assert "nsq.tls" in found.fix


def test_an_nsqd_that_refuses_our_timeout_is_a_problem(
    new_nsqd: NewNsqd, new_stack: NewStack, examined: Examine
) -> None:
    stack = new_stack(nsqd=new_nsqd(flags=["--max-msg-timeout=10s"]))
    found = examined(stack).one("nsqd")
    assert (found.verdict, "nsq.msg_timeout" in found.fix) == (Verdict.PROBLEM, True)


def limits_of(nsqd: Nsqd, new_stack: NewStack, examined: Examine) -> tuple[Verdict, str]:
    stack = new_stack(nsqd=nsqd)
    for topic in (stack.topic, stack.backfill_topic):
        stack.nsqd.create_channel(topic, "subkeeper")
    found = examined(stack).one("nsqd.limits")
    return found.verdict, found.fix


def test_an_nsqd_that_loses_or_outgrows_messages_is_warned_of(
    new_nsqd: NewNsqd, new_stack: NewStack, examined: Examine
) -> None:
    verdict, fix = limits_of(new_nsqd(flags=["--mem-queue-size=10000"]), new_stack, examined)
    assert (verdict, "--mem-queue-size=0" in fix) == (Verdict.WARNING, True)
    verdict, fix = limits_of(new_nsqd(flags=["--max-msg-size=5000000"]), new_stack, examined)
    assert (verdict, fix) == (Verdict.WARNING, "Raise nsq.max_message_bytes to 5000000")
    old = check_limits(Address("nsqd", 4150), dict.fromkeys(("max_msg_size", "mem_queue_size", "sync_every")), 1024)
    assert old.verdict is Verdict.SKIPPED, "one that doesn't tell"
