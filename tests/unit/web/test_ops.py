"""The ops page without a server: what is text stays text, everybody can read it, and it asks for the right things."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.documents import Element, read
from worker.domain.budget import Claim
from worker.domain.lanes import Lane
from worker.domain.polling import Allotment
from worker.domain.stats import Count, stats, trials_by_day
from worker.store import outbox, refreshes, told_changes
from worker.store.event_cursor import Standing
from worker.store.event_list import EventCounts
from worker.store.provisioning.backlog import LaneState, QueueState
from worker.store.quarantine_list import Kind, Quarantined, Total
from worker.telemetry.health import STARTING, Condition
from worker.web.app import Request
from worker.web.ops import pages
from worker.web.ops.door import MOST_SESSIONS, SESSION_SECONDS, Door
from worker.web.ops.html import html, tag
from worker.web.ops.needs import needs
from worker.web.ops.picture import Line, Picture, Process, Profiles, Quarantine, Shown, Subscriptions, Work
from worker.web.ops.style import CSS

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
OPERATIONS = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()


def standing(behind: timedelta = timedelta(0), **changed: Any) -> Standing:
    values: dict[str, Any] = {
        "now": NOW, "created": NOW - behind, "caught_up_at": None, "poll_at": NOW, "gap_from": None, "gap_to": None,
        "allotment": Allotment(10_000, 10, 5),
    }  # fmt: skip
    return Standing(**{**values, **changed})


def picture(**changed: Any) -> Picture:
    """All well, and something of each."""
    counted = [Count("pending", "trialing", False, NOW.date(), 5), Count("pro", "past_due", False, None, 2)]
    lanes = {lane: LaneState(0, 0.0, 0) for lane in Lane}
    found: dict[str, Any] = {
        "profiles": Profiles(QueueState(lanes, 0, 0), 12_345_678, True, None),
        "quarantine": Quarantine((), ()),
        "subscriptions": Subscriptions(stats(counted, NOW.date()), trials_by_day(counted, NOW.date())),
        "events": EventCounts({"applied": 3}, {"poll": NOW}, is_cut=False),
        "standing": standing(),
        "processes": [Process("0a1b2c3d", Claim(15.0, 3.0, 20.0))],
        "work": Work(outbox.Waiting(0, 0.0, 0), refreshes.Backlog(0, 0.0, 0), told_changes.Backlog(0, 0.0)),
    }
    plain = {name: changed.pop(name) for name in ("reasons", "parts") if name in changed}
    shown = {
        name: value if isinstance(value, Shown) else Shown(value, NOW) for name, value in {**found, **changed}.items()
    }
    parts = {"webhook": Condition(ok=True, detail="")}
    given: dict[str, Any] = {"at": NOW, "namespace": "n", "livemode": False, "reasons": (), "parts": parts}
    return Picture(**(given | plain | shown))


def lanes(depth: int, age: float, unopenable: int = 0) -> Profiles:
    return Profiles(QueueState({Lane.LIVE: LaneState(depth, age, unopenable)}, 0, 0), 0, False, None)


NOTHING = picture(
    **{
        name: Shown(None, None, "postgres is unavailable: refused")
        for name in ("profiles", "quarantine", "subscriptions", "events", "standing", "processes", "work")
    }
)
LATE = 301.0

NEEDS: Mapping[str, tuple[Picture, str]] = {
    "a part that only a person can mend": (picture(reasons=["stripe: the key is refused"]), "subkeeper doctor"),
    "a part that is away": (
        picture(parts={"api": Condition(ok=False, detail="postgres is unavailable")}), "subkeeper doctor",
    ),
    "refused alike": (
        picture(profiles=Profiles(QueueState({}, 0, 0), 0, False, "3 users were refused alike")),
        "subkeeper provisioning list",
    ),
    "late profiles": (picture(profiles=lanes(1, LATE)), "subkeeper provisioning list --older-than 5m"),
    "a lost key": (picture(profiles=lanes(1, 1.0, 1)), "subkeeper doctor"),
    "no process": (picture(profiles=lanes(1, 1.0), processes=[]), "subkeeper run profiles"),
    "dead processes": (
        picture(profiles=lanes(1, 1.0), processes=[Process("a", Claim(1.0, 1.0, 20.0, lives=False))]),
        "subkeeper run profiles",
    ),
    "a quarantined profile": (
        picture(quarantine=Quarantine([Total(Kind.PROFILE, "stripe_refused", 2)], ())),
        "subkeeper quarantine list --kind profile --reason stripe_refused",
    ),
    "a gap": (
        picture(standing=standing(gap_from=NOW - timedelta(days=2), gap_to=NOW)), "subkeeper verify --repair",
    ),
    "events behind": (picture(standing=standing(timedelta(hours=3))), "subkeeper run poller"),
    "a conflict": (picture(events=EventCounts({"conflicting": 1}, {}, is_cut=False)), "subkeeper verify"),
    "late changes": (
        picture(work=Work(outbox.Waiting(1, LATE, 0), None, told_changes.Backlog(0, 0.0))), "subkeeper run relay",
    ),
    "refused changes": (
        picture(work=Work(outbox.Waiting(0, 0.0, 1), None, told_changes.Backlog(0, 0.0))), "subkeeper config check",
    ),
    "late fetches": (
        picture(work=Work(None, refreshes.Backlog(1, LATE, 0), told_changes.Backlog(0, 0.0))), "subkeeper doctor",
    ),
    "missing at Stripe": (
        picture(work=Work(None, refreshes.Backlog(0, 0.0, 1), told_changes.Backlog(0, 0.0))), "subkeeper verify",
    ),
    "a change whose key is lost": (
        picture(work=Work(None, None, told_changes.Backlog(1, 0.0, 1))), "subkeeper doctor",
    ),
    "a late account change": (picture(work=Work(None, None, told_changes.Backlog(1, LATE))), "subkeeper run web"),
}  # fmt: skip


@pytest.mark.parametrize("case", NEEDS)
def test_what_needs_a_person_comes_with_its_command_and_where_more_is_said(case: str) -> None:
    shown, command = NEEDS[case]
    (need,) = needs(shown)
    assert need.command == command
    assert re.search(rf"^##+ {re.escape(need.see)}$", OPERATIONS, re.MULTILINE), need.see


def test_a_part_that_is_only_starting_needs_nobody() -> None:
    shown = picture(parts={"accounts": Condition(ok=False, detail=STARTING, kind=STARTING)})
    assert needs(shown) == []
    assert "starting" in read(pages.overview(shown, signed_in=False)).by_id("readiness").text


def test_nothing_needs_a_person_while_all_is_well_or_nothing_is_known() -> None:
    assert needs(picture()) == []
    assert needs(NOTHING) == []
    assert "postgres is unavailable: refused" in read(pages.overview(NOTHING, signed_in=False)).by_id("person").text


def test_an_estimate_is_said_to_be_one() -> None:
    told = read(pages.overview(picture(), signed_in=False)).by_id("profiles")
    assert told.rows()["settled"] == ["about 12,345,678"]
    assert "estimate" in told.text


def test_numbers_of_a_part_of_the_events_are_said_to_be_that() -> None:
    cut = picture(events=EventCounts({"applied": 200_000}, {"poll": NOW}, is_cut=True))
    told = read(pages.overview(cut, signed_in=False)).by_id("events").text
    assert "only a part is counted, 200,000 in all" in told
    assert "last taken in" not in told


@given(st.text(), st.text())
def test_text_stays_text_wherever_it_is_put(content: str, attribute: str) -> None:
    (element,) = read(html("<", tag("b", content, title=attribute), ">")).all("b")
    assert not list(element.all())
    seen = read(tag("i", content)).text
    assert "".join(each for each in seen if not each.isprintable()) == ""
    if content.isprintable():
        assert element.text == " ".join(content.split())
    if attribute.isprintable():
        assert element.attributes["title"] == attribute


# For everybody

HOSTILE = Quarantined(Kind.PROFILE, "<b id=x>", "stripe_refused", "", NOW, None)
LINES = [Line(NOW, "due", "sub_1", [("attempts", 1), ("keys", ["a", "b"]), ("under_way", False), ("at", NOW)])]
DOCUMENTS: Mapping[str, Callable[[], str]] = {
    "all well": lambda: pages.overview(picture(), signed_in=True),
    "trouble": lambda: pages.overview(
        picture(reasons=["a"], quarantine=Quarantine([Total(Kind.PROFILE, "r", 1)], [HOSTILE])), signed_in=False
    ),
    "nothing known": lambda: pages.overview(NOTHING, signed_in=False),
    "explained": lambda: pages.explained("u", "7d", LINES),
    "unexplained": lambda: pages.explained("u", "7d", (), "no such user", "subkeeper explain u"),
    "signing in": lambda: pages.sign_in("no", has_tokens=True),
    "no tokens": lambda: pages.sign_in(has_tokens=False),
}


@pytest.fixture(params=DOCUMENTS)
def document(request: pytest.FixtureRequest) -> Element:
    return read(DOCUMENTS[request.param]())


def test_each_page_is_a_document_that_says_its_language_and_title(document: Element) -> None:
    (root,) = document.all("html")
    assert root.attributes["lang"] == "en"
    assert next(document.all("title")).text
    assert len(list(document.all("main"))) == 1
    metas = {each.attributes.get("name"): each.attributes.get("content") for each in document.all("meta")}
    assert metas["viewport"] == "width=device-width, initial-scale=1"


def test_headings_follow_each_other_in_order(document: Element) -> None:
    levels = [int(each.name[1]) for each in document.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_whatever_is_filled_in_or_pressed_has_a_name(document: Element) -> None:
    labels = {each.attributes["for"] for each in document.all("label") if each.text}
    for each in document.all("input", "select"):
        assert each.attributes["id"] in labels
    for each in document.all("button", "a"):
        assert each.text
    for each in document.all():
        assert "tabindex" not in each.attributes


def test_ids_are_single_and_what_is_referred_to_is_there(document: Element) -> None:
    ids = [each.attributes["id"] for each in document.all() if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    for each in document.all("section"):
        assert each.attributes["aria-labelledby"] in ids


def test_tables_have_heads_and_charts_have_words(document: Element) -> None:
    for row in document.all("tr"):
        heads = list(row.all("th"))
        assert all(each.attributes.get("scope") in {"row", "col"} for each in heads)
    for each in document.all("svg"):
        is_told = each.attributes.get("role") == "img" and next(each.all("title")).text
        assert is_told or each.attributes.get("aria-hidden") == "true"


def test_without_script_a_page_renews_itself_and_with_it_can_be_held() -> None:
    document = read(pages.overview(picture(), signed_in=False))
    (noscript,) = document.all("noscript")
    assert next(noscript.all("meta")).attributes == {"http-equiv": "refresh", "content": "30"}
    assert document.by_id("pause").attributes.keys() >= {"hidden"}


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    """By WCAG 2.2 (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_written_and_drawn_stands_out_in_both_themes(theme: str) -> None:
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6});", each)) for each in CSS.split("@media (prefers", 1))
    assert light.keys() == dark.keys()
    colours = light if theme == "light" else dark
    for text, ground in (
        ("ink", "panel"), ("ink", "ground"), ("muted", "panel"), ("muted", "ground"), ("accent", "panel"),
        ("accent", "ground"), ("on-accent", "accent"), ("good", "panel"), ("bad", "bad-ground"),
    ):  # fmt: skip
        assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for drawn, ground in (("bar", "panel"), ("muted", "panel"), ("bar", "rest"), ("accent", "ground")):
        assert _contrast(colours[drawn], colours[ground]) >= 3, (drawn, ground)


# Sessions


async def _nothing() -> object:
    return None


def request(cookie: str = "") -> Request:
    headers = [(b"host", b"elsewhere"), (b"cookie", cookie.encode())]
    return Request({"headers": headers, "query_string": b"", "http_version": "1.1"}, _nothing)


def test_a_session_ends_by_itself_and_of_too_many_the_oldest_does() -> None:
    now, numbers = [0.0], itertools.count()
    door = Door(
        open_here=True, holder={"good": "admin a"}.get, clock=lambda: now[0], random=lambda: f"r{next(numbers)}"
    )
    assert door.sign_in("bad", request()) is None
    for _ in range(MOST_SESSIONS + 1):
        assert door.sign_in("good", request())
    assert not door.lets_in(request("subkeeper_ops=r0"))
    assert door.lets_in(request(f"other=1; subkeeper_ops=r{MOST_SESSIONS}"))
    now[0] = SESSION_SECONDS
    assert not door.lets_in(request(f"subkeeper_ops=r{MOST_SESSIONS}"))


def test_trials_are_told_for_a_week() -> None:
    today = date(2026, 12, 1)
    days = {0: 1, 7: 2, 8: 4, -1: 8}
    counted = [Count("p", "trialing", False, today + timedelta(days=each), number) for each, number in days.items()]
    counted += [Count("p", "canceled", False, today, 16), Count("p", "trialing", False, None, 32)]
    found = trials_by_day(counted, today)
    assert list(found) == [today + timedelta(days=each) for each in range(8)]
    assert {day: count for day, count in found.items() if count} == {today: 1, today + timedelta(days=7): 2}
