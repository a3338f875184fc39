"""One request and its answer, whatever its connection and its endpoint do meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus

import pytest
from structlog.testing import capture_logs

from worker.web.app import Answer, Problem
from worker.web.exchange import Exchange, InHand

OK = Answer(HTTPStatus.OK, "text/plain", b"taken")
LIMIT = 10


class Taking:
    """An endpoint that answers when it is told to."""

    path = "/there"
    max_body_bytes = LIMIT

    def __init__(self) -> None:
        self.in_hand = InHand(LIMIT)
        self.taken: list[bytes] = []
        self.answers: list[Callable[[Answer], None]] = []
        self.not_read: list[HTTPStatus] = []
        self.crash: Exception | None = None

    def take(self, body: bytes, headers: Mapping[bytes, bytes], answer: Callable[[Answer], None]) -> None:
        assert headers is not None
        self.taken.append(body)
        self.answers.append(answer)
        if self.crash is not None:
            raise self.crash

    def unread(self, problem: Problem) -> None:
        self.not_read.append(problem.answer.status)

    def room(self) -> bool:
        """Whether there is room for a second body: whether nothing is in hand."""
        try:
            self.in_hand.add(LIMIT, 0)
            self.in_hand.add(1, LIMIT)
        except Problem:
            self.in_hand.remove(LIMIT)
            return False
        self.in_hand.remove(LIMIT + 1)
        return True


class Line:
    """A connection."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.kept: list[bool] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def answered(self, head: bytes, body: bytes, *, keep_alive: bool) -> None:
        self.written.append(head.split(b"\r\n")[0] + b" " + body[:5])
        self.kept.append(keep_alive)


@pytest.fixture
def endpoint() -> Taking:
    return Taking()


@pytest.fixture
def line() -> Line:
    return Line()


def exchange(endpoint: Taking, line: Line, method: bytes = b"POST", *, expects: bool = False) -> Exchange:
    return Exchange(endpoint, line, method, {}, keep_alive=True, is_asked_for=expects)


def test_its_body_is_taken_once_it_is_whole_and_its_turn_has_come(endpoint: Taking, line: Line) -> None:
    first, second = exchange(endpoint, line), exchange(endpoint, line)
    second.add(b"b")
    second.complete()
    first.begin()
    first.add(b"a")
    first.add(b"a")
    assert endpoint.taken == []
    first.complete()
    assert endpoint.taken == [b"aa"]
    second.begin()
    assert endpoint.taken == [b"aa", b"b"]
    endpoint.answers[0](OK)
    assert (line.written, line.kept) == ([b"HTTP/1.1 200 OK taken"], [True])
    assert first.response_complete
    assert not second.response_complete


def test_who_waits_to_send_the_body_is_told_when_its_turn_has_come(endpoint: Taking, line: Line) -> None:
    one = exchange(endpoint, line, expects=True)
    assert line.written == []
    one.begin()
    assert line.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]


def test_who_has_sent_the_body_without_waiting_is_not_told_to(endpoint: Taking, line: Line) -> None:
    one = exchange(endpoint, line, expects=True)
    one.complete()
    one.begin()
    assert line.written == []
    assert endpoint.taken == [b""]


def test_what_is_refused_before_its_turn_is_answered_in_its_turn_and_read_no_further(
    endpoint: Taking, line: Line
) -> None:
    one = exchange(endpoint, line)
    one.add(b"x" * LIMIT)
    one.add(b"x")
    one.add(b"x")
    assert (endpoint.not_read, line.written) == ([HTTPStatus.REQUEST_ENTITY_TOO_LARGE], [])
    assert endpoint.room(), "nothing of it is kept"
    one.begin()
    one.complete()
    assert [said[:12] for said in line.written] == [b"HTTP/1.1 413"]
    assert line.kept == [False]


def test_another_method_is_refused_and_is_no_delivery(endpoint: Taking, line: Line) -> None:
    one = exchange(endpoint, line, b"PUT")
    one.add(b"x")
    one.begin()
    assert [said[:12] for said in line.written] == [b"HTTP/1.1 405"]
    assert (endpoint.not_read, endpoint.taken) == ([], [])


def test_a_bug_in_one_is_told_and_answered(endpoint: Taking, line: Line) -> None:
    endpoint.crash = ZeroDivisionError()
    one = exchange(endpoint, line)
    one.begin()
    with capture_logs() as lines:
        one.complete()
    assert [said[:12] for said in line.written] == [b"HTTP/1.1 500"]
    assert [(told["event"], told["path"]) for told in lines] == [("request.crashed", "/there")]


def test_it_is_answered_once_whatever_its_endpoint_does(endpoint: Taking, line: Line) -> None:
    """A second answer would be the next request's."""
    one = exchange(endpoint, line)
    one.begin()
    one.complete()
    for _ in range(2):
        endpoint.answers[0](OK)
    one.add(b"x")
    assert endpoint.room()
    assert line.written == [b"HTTP/1.1 200 OK taken"]


@pytest.mark.parametrize("is_whole", [True, False])
def test_of_a_peer_that_is_gone_nothing_is_kept_and_nothing_is_written_to_it(
    endpoint: Taking, line: Line, *, is_whole: bool
) -> None:
    one = exchange(endpoint, line)
    one.begin()
    one.add(b"x" * LIMIT)
    if is_whole:
        one.complete()
    assert not endpoint.room()
    one.lost()
    assert endpoint.room()
    for answer in endpoint.answers:
        answer(OK)
    assert endpoint.room()
    assert line.written == []


def test_once_it_is_answered_its_room_is_another_s(endpoint: Taking, line: Line) -> None:
    one, other = exchange(endpoint, line), exchange(endpoint, line)
    one.begin()
    one.add(b"x" * LIMIT)
    other.add(b"x")
    assert endpoint.not_read == [HTTPStatus.SERVICE_UNAVAILABLE]
    one.complete()
    endpoint.answers[0](OK)
    assert endpoint.room()


def test_there_is_room_for_as_much_as_may_be_in_hand(endpoint: Taking, line: Line) -> None:
    one, other = exchange(endpoint, line), exchange(endpoint, line)
    one.add(b"x" * (LIMIT - 3))
    other.add(b"x" * 3)
    assert endpoint.not_read == []
    other.add(b"x")
    assert endpoint.not_read == [HTTPStatus.SERVICE_UNAVAILABLE]
