"""Tables fit the terminal, and never break what a person copies."""

from __future__ import annotations

import pytest
from click import unstyle
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from worker.cli.tables import lay_out

USER = "0b6e7c2a-5d1f-4f0e-9f57-3c1f6f8f1a2b"
SUBSCRIPTION = "sub_1W9qqSi9ZLJj4qAhl0ObTS2B"
COLUMNS = ["user", "state", "tries", "last error"]
SENTENCE = f"stripe_refused: subscriptions.create status=400 request=req_12345678901234 on {SUBSCRIPTION}"


def table(width: int, *rows: list[str]) -> list[str]:
    return [unstyle(line) for line in lay_out(COLUMNS, rows, width, wordy=True)]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_no_id_is_broken_and_no_line_is_too_wide(width: int) -> None:
    lines = table(width, [USER, "customer_created", "3", SENTENCE], ["ada", "pending", "1", "-"])
    text = "\n".join(lines)
    for whole in (USER, SUBSCRIPTION, "customer_created", "request=req_12345678901234"):
        assert whole in text
    if width > 40:  # narrower than an id and its title
        assert all(cell_len(line) <= width or line.startswith("last error: ") for line in lines), lines


def test_with_room_a_row_is_a_line() -> None:
    assert table(200, [USER, "pending", "1", SENTENCE])[2:] == [f"{USER}  pending  1      {SENTENCE}"]


def test_sentences_go_below_their_row_before_ids_suffer() -> None:
    heading, _, row, *below = table(80, [USER, "customer_created", "3", SENTENCE])
    assert heading.split() == ["user", "state", "tries"]
    assert row == f"{USER}  customer_created  3"
    assert " ".join(line.strip() for line in below) == SENTENCE


def test_without_room_for_the_ids_each_value_has_a_line() -> None:
    assert table(50, [USER, "customer_created", "3", "-"]) == [
        f"user: {USER}", "state: customer_created", "tries: 3", "last error: -",
    ]  # fmt: skip


words = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40)


@given(st.lists(st.tuples(words, words, words), min_size=1, max_size=5), st.integers(20, 200))
def test_every_value_is_there_whole_whatever_the_width(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = [unstyle(line) for line in lay_out(["id", "state", "detail"], rows, width, wordy=True)]
    for row in rows:
        for value in row:
            assert any(value in line for line in lines)
