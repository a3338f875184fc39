"""The panels of the page, a function each. Where nothing newer could be had, a panel says since when, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import TypeVar

from worker.domain.lanes import Lane
from worker.domain.text import span, utc
from worker.store.event_cursor import Standing
from worker.store.event_list import EventCounts
from worker.web.ops.charts import bar, columns
from worker.web.ops.html import Content, Html, html, tag
from worker.web.ops.needs import Need, needs
from worker.web.ops.picture import Picture, Process, Profiles, Quarantine, Shown, Subscriptions, Work

Value = TypeVar("Value")

LANES = {Lane.LIVE: "live", Lane.RETRY: "retry", Lane.BACKFILL: "backfill"}
MOST_PROCESSES = 20


def person(picture: Picture) -> Html:
    found = needs(picture)
    items = [tag("li", _need(each)) for each in found]
    nothing = tag("p", "Nothing, as far as it is known.", class_="good")
    hint = tag(
        "p", "In brackets: the part of docs/operations.md that says more. ", tag("code", "subkeeper doctor"),
        " checks everything else.", class_="muted",
    )  # fmt: skip
    problem = picture.postgres
    told = tag("p", "Not all of it is known: ", problem, class_="bad") if problem else None
    list_ = tag("ul", items, class_="needs") if items else nothing
    return _section("person", "What needs a person", told, list_, hint, class_="wide")


def _need(need: Need) -> Html:
    then = html(f"; {need.then[0]}: ", tag("code", need.then[1])) if need.then else None
    return html(need.what, ": ", tag("code", need.command), then, " ", tag("span", f"({need.see})", class_="muted"))


def profiles(shown: Shown[Profiles], quarantine: Shown[Quarantine], now: datetime) -> Html:
    def told(value: Profiles) -> Content:
        lanes = value.queues.lanes
        most = max((each.depth for each in lanes.values()), default=0)
        rows = []
        for lane, name in LANES.items():
            found = lanes.get(lane)
            depth, age = (found.depth, span(found.age) if found.depth else "") if found else (None, "")
            rows.append([name, _number(depth), age, bar(depth or 0, most)])
        in_quarantine = [
            ("profiles in quarantine", value.queues.quarantined_rows),
            ("messages in quarantine", value.queues.quarantined_messages),
        ]
        about = "about " if value.is_estimate else ""
        settled = "not known yet" if value.settled is None else f"{about}{value.settled:,}"
        return html(
            _table("Waiting, by lane", ["lane", "waiting", "oldest", None], rows),
            _pairs([("settled", settled), *((name, _number(count)) for name, count in in_quarantine)]),
            tag("p", "Settled is an estimate of Postgres's.", class_="muted") if value.is_estimate else None,
        )

    def newest(value: Quarantine) -> Content:
        if not value.newest:
            return None
        rows = [
            [each.kind.value, tag("bdi", each.id), each.reason, span((now - each.quarantined_at).total_seconds())]
            for each in value.newest
        ]
        return _table("The newest in quarantine", ["kind", "id or user", "reason", "age"], rows)

    return _section("profiles", "Profiles", _told(shown, told), _told(quarantine, newest))


def subscriptions(shown: Shown[Subscriptions]) -> Html:
    def told(value: Subscriptions) -> Content:
        stats = value.stats
        return html(
            _pairs([
                ("not ended", _number(stats.subscriptions)),
                ("canceling", _number(stats.canceling)),
                ("failing (past_due, unpaid)", _number(stats.failing)),
                ("trials ending within 7 days", _number(stats.trials_ending)),
            ]),
            _bars("By status, ended ones too", "status", stats.by_status),
            _bars("By plan", "plan", stats.by_plan),
            _trials(value.trials_by_day),
        )  # fmt: skip

    return _section("subscriptions", "Subscriptions", _told(shown, told))


def _trials(by_day: Mapping[date, int]) -> Html:
    days = {f"{day:%b} {day.day}": count for day, count in by_day.items()}
    return html(tag("h3", "Trials ending, by day (UTC)"), columns("Trials ending by day", days))


def events(shown: Shown[EventCounts], standing: Shown[Standing | None]) -> Html:
    def told(value: EventCounts) -> Content:
        cut = f"Of a day with very many only a part is counted, {sum(value.outcomes.values()):,} in all."
        last = [(f"last taken in by {source}", utc(at)) for source, at in sorted(value.last_taken_in.items())]
        return html(
            _bars("Made yesterday and today (UTC), by outcome", "outcome", value.outcomes),
            tag("p", cut, class_="muted") if value.is_cut else _pairs(last),
        )

    def fresh(value: Standing) -> Content:
        return _pairs([
            ("all known to be processed until", utc(value.known_until)),
            ("behind Stripe by at most", span(value.behind.total_seconds())),
            ("until missed ones can't be had", f"{value.left.total_seconds() / 86_400:.1f} days"),
            ("gone before they were heard", span(value.gap.total_seconds()) if value.gap else "none"),
            ("next poll", utc(value.poll_at) if value.poll_at else "-"),
        ])  # fmt: skip

    nobody = tag("p", "Nobody polls, or has yet: how far behind isn't known.", class_="muted")
    standing_told = nobody if standing.at and standing.value is None else _told(standing, fresh)
    return _section("events", "Stripe's events", standing_told, _told(shown, told))


def rate(shown: Shown[Sequence[Process]], standing: Shown[Standing | None]) -> Html:
    def told(value: Sequence[Process]) -> Content:
        living = [each for each in value if each.claim.lives]
        total = min((each.claim.total for each in living), default=0.0)
        rows = [
            [each.id, f"{each.claim.rate:.3g}", f"{each.claim.demand:.3g}", bar(each.claim.rate, total)]
            for each in living[:MOST_PROCESSES]
        ]
        granted = sum(each.claim.rate for each in living)
        more = len(living) - MOST_PROCESSES
        return html(
            _pairs([("requests a second, granted", f"{granted:.3g} of {total:g}"), ("processes", str(len(living)))]),
            _table("By process", ["process", "may send", "wants", None], rows) if rows else None,
            tag("p", f"and {more} more", class_="muted") if more > 0 else None,
        )

    def reads(value: Standing) -> Content:
        allotment = value.allotment
        used = allotment.polls + allotment.others
        row = ["reads this month", f"{used:,} of {allotment.monthly:,}", bar(used, allotment.monthly)]
        return _table("Reads that Stripe grants", ["", "used", None], [row])

    return _section("rate", "Stripe's rate", _told(shown, told), _told(standing, reads))


def work(shown: Shown[Work]) -> Html:
    def told(value: Work) -> Content:
        changes, marked, asked = value.changes, value.refreshes, value.account_changes
        unknown = ["not known", ""]
        rows = [
            ["changes to be told", *([_number(changes.unsent), _age(changes.oldest)] if changes else unknown)],
            ["changes that nsqd refuses", *([_number(changes.refused), ""] if changes else unknown)],
            ["subscriptions to be fetched", *([_number(marked.waiting), _age(marked.oldest)] if marked else unknown)],
            ["subscriptions missing at Stripe", *([_number(marked.aside), ""] if marked else unknown)],
            ["account changes under way", _number(asked.waiting), _age(asked.oldest)],
        ]
        return _table("What waits, and how long the oldest has", ["what", "waiting", "oldest"], rows)

    return _section("work", "Work under way", _told(shown, told))


def readiness(picture: Picture) -> Html:
    rows = [
        [part, tag("span", "well" if each.ok else "not well", class_="good" if each.ok else "bad"), each.detail]
        for part, each in sorted(picture.parts.items())
    ]
    return _section(
        "readiness", "This process", _table("As its /readyz says", ["part", "is", "says"], rows), class_="wide"
    )


def _section(identifier: str, title: str, *content: Content, class_: str | None = None) -> Html:
    heading = tag("h2", title, id=f"{identifier}-title")
    return tag(
        "section", heading, *content, id=identifier, class_=class_, aria_labelledby=f"{identifier}-title",
        data_live=True,
    )  # fmt: skip


def _told(shown: Shown[Value | None], tell: Callable[[Value], Content]) -> Html:
    """`tell` of what is known; and what isn't."""
    found = shown.value
    content = html(tell(found)) if found is not None else None
    if not shown.problem:
        return html(content)
    old = f"As of {utc(shown.at)}" if shown.at is not None and found is not None else "Not known"
    return html(tag("p", f"{old}: {shown.problem}", class_="bad"), content)


def _bars(caption: str, what: str, counts: Mapping[str, int]) -> Html:
    if not counts:
        return tag("p", caption, ": none.")
    most = max(counts.values())
    rows = [[name, _number(count), bar(count, most)] for name, count in counts.items()]
    return _table(caption, [what, "number", None], rows)


def _pairs(pairs: Sequence[tuple[str, Content]]) -> Html:
    rows = [tag("tr", tag("th", name, scope="row"), tag("td", value, class_="number")) for name, value in pairs]
    return tag("table", tag("tbody", rows)) if rows else html()


def _table(caption: str, heads: Sequence[str | None], rows: Sequence[Sequence[Content]]) -> Html:
    """A head of None: the column draws what the one before it says."""
    head = [tag("th", each, scope="col") if each else tag("td") for each in heads]
    body = []
    for row in rows:
        first, *rest = row
        cells = [_cell(each, is_chart=head_ is None) for each, head_ in zip(rest, heads[1:], strict=True)]
        body.append(tag("tr", tag("th", first, scope="row"), cells))
    return tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body))


def _cell(content: Content, *, is_chart: bool) -> Html:
    return tag("td", content, class_="chart") if is_chart else tag("td", content)


def _number(count: int | None) -> str:
    return "not known" if count is None else f"{count:,}"


def _age(seconds: float) -> str:
    return span(seconds) if seconds else ""
