"""What gets in where some messages of a batch meet a lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from worker.domain.messages import Absorbed, Message
from worker.errors import Contended
from worker.provisioning.halves import absorb_in_halves

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def batch_of(size: int) -> list[Message]:
    return [Message("topic", b"", b"%016d" % number, 1, NOW) for number in range(size)]


class Ledger:
    """Refuses every part with one of `locked` in it; `parts` counts the transactions."""

    def __init__(self, locked: Collection[Message]) -> None:
        self.locked = locked
        self.taken: list[Message] = []
        self.parts = 0

    def absorb(self, part: Sequence[Message]) -> Absorbed:
        self.parts += 1
        if any(message in self.locked for message in part):
            raise Contended("postgres 55P03")
        self.taken += part
        return Absorbed(Counter({("topic", "new"): len(part)}))


@given(size=st.integers(1, 70), locked=st.sets(st.integers(0, 69)))
def test_all_get_in_but_those_that_are_locked(size: int, locked: set[int]) -> None:
    batch = batch_of(size)
    held = [batch[number] for number in sorted(locked) if number < size]
    ledger = Ledger(held)
    absorbed = absorb_in_halves(batch, ledger.absorb, is_over=lambda: False)
    assert sorted(absorbed.requeued, key=batch.index) == held
    assert sorted(ledger.taken, key=batch.index) == [message for message in batch if message not in held]
    assert absorbed.counts.total() == size
    assert absorbed.counts["topic", "requeued"] == len(held)


def test_one_locked_row_of_three_hundred_is_found_in_twenty_transactions() -> None:
    batch = batch_of(300)
    ledger = Ledger([batch[123]])
    absorb_in_halves(batch, ledger.absorb, is_over=lambda: False)
    assert ledger.parts <= 20


def test_what_is_left_when_the_time_is_over_comes_again() -> None:
    batch = batch_of(8)
    ledger = Ledger([batch[0]])
    absorbed = absorb_in_halves(batch, ledger.absorb, is_over=lambda: ledger.parts >= 2)
    assert ledger.taken == batch[4:]
    assert absorbed.requeued == batch[:4]
