"""What waits to be published: in which order it goes, and that each hears of it."""

from __future__ import annotations

from collections.abc import Sequence

from worker.broker.asked import Asked, Waiting, each_alone, tell
from worker.errors import SubkeeperError, Unavailable


def asked(*names: str, deadline: float = 1.0) -> list[Asked]:
    return [Asked(name.encode(), lambda _: None, deadline) for name in names]


def waiting(*those: Asked) -> Waiting:
    found = Waiting()
    for each in those:
        found.add(each)
    return found


def bodies(those: Sequence[Asked]) -> list[str]:
    return [each.body.decode() for each in those]


def test_what_is_put_back_comes_first_in_its_order() -> None:
    found = waiting(*asked("a", "b"))
    flying = found.next_group()
    found.add(*asked("c"))
    found.put_back(flying)
    assert bodies(found.next_group()) == ["a", "b", "c"]
    assert not found


def test_those_of_a_refused_group_go_one_by_one_and_the_others_together() -> None:
    found = waiting(*asked("c", "d"))
    found.put_back(each_alone(asked("a", "b")))
    assert [bodies(found.next_group()) for _ in range(3)] == [["a"], ["b"], ["c", "d"]]


def test_all_that_have_waited_too_long_are_taken_and_no_others() -> None:
    found = waiting(*asked("a", "b"), *asked("c", "d", deadline=3.0), *asked("e"))
    assert found.take_late(1.0) == []
    assert bodies(found.take_late(2.0)) == ["a", "b", "e"]
    assert bodies(found.take_all()) == ["c", "d"]
    assert not found


def test_each_hears_of_it_once() -> None:
    heard: list[SubkeeperError | None] = []
    tell([Asked(b"x", heard.append, 1.0) for _ in range(2)], away := Unavailable("nsqd", "away"))
    tell([Asked(b"x", heard.append, 1.0)], None)
    assert heard == [away, away, None]
