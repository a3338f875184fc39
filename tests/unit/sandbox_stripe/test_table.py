"""Tables: pages, windows and indexes agree with a plain list, whatever happened before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sandbox.stripe.objects import Obj
from sandbox.stripe.table import Table

_EMAILS = st.sampled_from(["a", "b", None])
_STEPS = st.lists(st.tuples(st.sampled_from(["new", "edit", "delete"]), st.integers(0, 9), _EMAILS), max_size=25)


def _filled(steps: list[tuple[str, int, str | None]]) -> tuple[Table, list[Obj]]:
    """A table after `steps`, and its living rows newest first."""
    table = Table(["email"])
    rows: dict[str, Obj] = {}
    for arrival, (step, number, email) in enumerate(steps):
        if step == "new":
            row: Obj = {"id": f"cus_{arrival}", "created": number, "email": email, "arrival": arrival}
        elif rows:
            known = list(rows.values())[number % len(rows)]
            row = {**known, "email": email} if step == "edit" else {"id": known["id"], "deleted": True}
        else:
            continue
        table.put(row)
        rows[row["id"]] = row
        if row.get("deleted"):
            del rows[row["id"]]
    return table, sorted(rows.values(), key=lambda row: (row["created"], row["arrival"]), reverse=True)


@given(_STEPS, st.integers(1, 4), _EMAILS, st.booleans())
def test_pages_in_both_directions_give_every_row_once(
    steps: list[tuple[str, int, str | None]], limit: int, email: str | None, filtered: bool
) -> None:
    table, rows = _filled(steps)
    where = {"email": email} if filtered else {}
    wanted = [row for row in rows if where.items() <= row.items()]
    assert _walk(table, limit, where, "after") == wanted
    backwards = _walk(table, limit, where, "before")
    assert backwards == wanted[:-1][::-1]


def _walk(table: Table, limit: int, where: dict[str, str | None], direction: str) -> list[Obj]:
    """All pages one after the other; backwards, starting before the oldest row."""
    found: list[Obj] = []
    cursor = None
    if direction == "before":
        everything, _ = table.page(1000, lambda _: True, where=where, created={})
        if not everything:
            return []
        cursor = everything[-1]["id"]
    more = True
    while more:
        place = {direction: cursor}
        page, more = table.page(
            limit, lambda _: True, where=where, created={}, after=place.get("after"), before=place.get("before")
        )
        ordered = page if direction == "after" else page[::-1]
        found += ordered
        cursor = ordered[-1]["id"] if ordered else None
    return found


@given(_STEPS, st.integers(-1, 10), st.integers(-1, 10), st.booleans(), st.booleans())
def test_a_window_holds_what_lies_inside(
    steps: list[tuple[str, int, str | None]], low: int, high: int, open_low: bool, open_high: bool
) -> None:
    table, rows = _filled(steps)
    window = {"gt" if open_low else "gte": low, "lt" if open_high else "lte": high}
    page, _ = table.page(1000, lambda _: True, where={}, created=window)
    assert page == [
        row
        for row in rows
        if (row["created"] > low if open_low else row["created"] >= low)
        and (row["created"] < high if open_high else row["created"] <= high)
    ]


@given(_STEPS, _EMAILS)
def test_an_index_names_the_rows_of_now(steps: list[tuple[str, int, str | None]], email: str | None) -> None:
    table, rows = _filled(steps)
    assert table.by("email", email) == [row for row in rows[::-1] if row["email"] == email]
    assert table.count() == len(rows)


@given(_STEPS, st.sets(st.integers(0, 24)), st.integers(0, 24))
def test_a_page_among_some_holds_those_after_its_cursor(
    steps: list[tuple[str, int, str | None]], some: set[int], cursor: int
) -> None:
    table, rows = _filled(steps)
    among = [row["id"] for row in rows if row["arrival"] in some]
    after = rows[cursor]["id"] if cursor < len(rows) else None
    page, _ = table.page(1000, lambda _: True, where={}, created={}, after=after, among=among)
    wanted = rows if after is None else rows[cursor + 1 :]
    assert page == [row for row in wanted if row["id"] in among]
