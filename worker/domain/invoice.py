"""What is known of a subscription's charges: of its latest invoice that asks for money, how far that has come.

Invoices' events and fetches come in any order and repeatedly, and are merged without looking at when: `merged` is a
join (commutative, associative, idempotent; held by a property test), so the end is the same in whatever order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum

from worker.domain.stripe_facts import InvoiceFact


class Charged(IntEnum):
    """How far an invoice has come. An uncollectible one may be paid after all, a void one not
    (https://docs.stripe.com/invoicing/overview#invoice-statuses)."""

    FAILING = 0
    GIVEN_UP = 1
    """Void or uncollectible: nothing is being charged any more."""
    PAID = 2


@dataclass(frozen=True, slots=True)
class Charge:
    """`attempts`: how many have failed while it is failing. `failed_at`: when the last one did, where an event told."""

    invoice_id: str
    created: datetime
    charged: Charged
    attempts: int = 0
    failed_at: datetime | None = None


_CHARGED = {
    "open": Charged.FAILING,
    "paid": Charged.PAID,
    "void": Charged.GIVEN_UP,
    "uncollectible": Charged.GIVEN_UP,
}


def charge(invoice: InvoiceFact, failed_at: datetime | None = None) -> Charge | None:
    """What an invoice says of charges; None for one that nothing was asked for yet, or never (a trial's, of 0: that one
    is `paid`, and no conversion)."""
    charged = _CHARGED.get(invoice.status)
    if charged is None or invoice.total == 0 or (charged is Charged.FAILING and invoice.attempt_count == 0):
        return None
    failing = charged is Charged.FAILING
    return Charge(
        invoice.id, invoice.created, charged, invoice.attempt_count if failing else 0, failed_at if failing else None
    )


def merged(known: Charge | None, heard: Charge | None) -> Charge | None:
    """The later invoice's; of one invoice's two, what has come further, and the later failure."""
    if known is None or heard is None:
        return known or heard
    if known.invoice_id != heard.invoice_id:
        return max(known, heard, key=lambda each: (each.created, each.invoice_id))
    further = max(known, heard, key=lambda each: (each.charged, each.attempts))
    times = [each.failed_at for each in (known, heard) if each.failed_at is not None]
    return replace(further, failed_at=max(times, default=None))
