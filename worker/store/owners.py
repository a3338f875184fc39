"""SQL of `billing_owners`: who owns which customer.

Without a row there, a customer is its own user's, who is its payer: so it was before there were owners, and so
processes that don't know the table go on writing it. A row of that user's says otherwise; without a role, that they own
it no more.
Whoever gives or takes away has the customer's row locked (`customers.locked`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from worker.domain import owners as domain
from worker.domain.owners import Owner, OwnerKind, Role, Share, user
from worker.store import customers
from worker.store.customers import Owner as Customer
from worker.store.engine import arrays

_SHARES = """
    SELECT c.stripe_customer_id, 'user' AS owner_kind, c.user_id AS owner_id, 'payer' AS role
    FROM billing_customers c WHERE {own} AND c.deleted_at IS NULL AND NOT EXISTS (
        SELECT FROM billing_owners o
        WHERE o.billing_customer_id = c.id AND o.owner_kind = 'user' AND o.owner_id = c.user_id)
    UNION ALL
    SELECT c.stripe_customer_id, o.owner_kind, o.owner_id, o.role
    FROM billing_owners o JOIN billing_customers c ON c.id = o.billing_customer_id
    WHERE {given} AND c.deleted_at IS NULL AND o.role IS NOT NULL
    ORDER BY stripe_customer_id, owner_kind, owner_id
"""
_THEIRS = "c.stripe_customer_id = ANY(CAST(:customers AS text[]))"
_OF = text(_SHARES.format(own=_THEIRS, given=_THEIRS))
_OWNED = text(
    _SHARES.format(own=":kind = 'user' AND c.user_id = :id", given="o.owner_id = :id AND o.owner_kind = :kind")
)

_GIVE = text("""
    INSERT INTO billing_owners AS o (billing_customer_id, owner_kind, owner_id, role)
    SELECT c.id, :kind, :id, :role FROM billing_customers c
    WHERE c.stripe_customer_id = :customer AND c.deleted_at IS NULL
    ON CONFLICT (billing_customer_id, owner_kind, owner_id) DO UPDATE SET role = excluded.role
""")

_TAKE_AWAY = text("""
    WITH own AS (
        INSERT INTO billing_owners AS o (billing_customer_id, owner_kind, owner_id, role)
        SELECT c.id, 'user', c.user_id, NULL FROM billing_customers c
        WHERE c.stripe_customer_id = :customer AND :kind = 'user' AND c.user_id = :id
        ON CONFLICT (billing_customer_id, owner_kind, owner_id) DO UPDATE SET role = NULL
    )
    DELETE FROM billing_owners o USING billing_customers c
    WHERE o.billing_customer_id = c.id AND c.stripe_customer_id = :customer
        AND o.owner_kind = :kind AND o.owner_id = :id AND NOT (:kind = 'user' AND c.user_id = :id)
""")

_LIVING = text("""
    SELECT EXISTS (
        SELECT FROM billing_subscriptions s JOIN billing_customers c ON c.id = s.billing_customer_id
        WHERE c.stripe_customer_id = :customer
            AND s.stripe_subscription_status NOT IN ('canceled', 'incomplete_expired')
            AND CASE WHEN :kind = 'project' THEN s.owner_project_id = :id
                ELSE s.owner_project_id IS NULL AND coalesce(s.owner_user_id, c.user_id) = :id END)
""")

_WORK = text("""
    SELECT EXISTS (
        SELECT FROM account_changes
        WHERE user_id = :user_id AND state = 'pending' AND stripe_customer_id = :customer
    ) OR EXISTS (
        SELECT FROM checkouts page JOIN account_changes opened ON opened.id = page.id
        WHERE page.user_id = :user_id AND page.ended_at IS NULL AND opened.stripe_customer_id = :customer)
""")


def of(tx: Connection, stripe_customer_ids: Sequence[str]) -> dict[str, list[Share]]:
    """Who owns these customers, by Stripe's id; a deleted one is nobody's."""
    found: dict[str, list[Share]] = {}
    for customer_id, kind, identifier, role in tx.execute(_OF, {"customers": arrays.texts(stripe_customer_ids)}):
        found.setdefault(customer_id, []).append(Share(Owner(OwnerKind(kind), identifier), Role(role)))
    return found


def other_owners(tx: Connection, stripe_customer_id: str, user_id: str) -> list[Share]:
    """Who else than this user owns the customer. While there is anybody, it is not the user's to delete."""
    shares = of(tx, [stripe_customer_id]).get(stripe_customer_id, [])
    return [each for each in shares if each.owner != user(user_id)]


def is_shared(tx: Connection, stripe_customer_id: str) -> bool:
    """Whether not just its own user owns the customer; one that isn't ours is nobody's."""
    customer = customers.owners(tx, [stripe_customer_id]).get(stripe_customer_id)
    shares = of(tx, [stripe_customer_id]).get(stripe_customer_id, [])
    return customer is not None and domain.is_shared(shares, customer.user_id)


def has_living(tx: Connection, stripe_customer_id: str, owner: Owner) -> bool:
    """Whether this owner has subscriptions on the customer that haven't ended."""
    found = tx.execute(_LIVING, {"customer": stripe_customer_id, "kind": owner.kind.value, "id": owner.id})
    return bool(found.scalar_one())


def has_work(tx: Connection, stripe_customer_id: str, user_id: str) -> bool:
    """Whether the user has changes under way there, or pages that haven't ended: what comes of them would be
    nobody's."""
    found = tx.execute(_WORK, {"customer": stripe_customer_id, "user_id": user_id})
    return bool(found.scalar_one())


def owned_by(tx: Connection, owner: Owner) -> dict[str, Role]:
    """The customers that it owns, by Stripe's id, and as what."""
    found = tx.execute(_OWNED, {"kind": owner.kind.value, "id": owner.id})
    return {row.stripe_customer_id: Role(row.role) for row in found}


def give(tx: Connection, stripe_customer_id: str, share: Share) -> None:
    """This owner has this role there, whatever it had before."""
    owner, role = share
    tx.execute(_GIVE, {"customer": stripe_customer_id, "kind": owner.kind.value, "id": owner.id, "role": role.value})


def take_away(tx: Connection, stripe_customer_id: str, owner: Owner) -> None:
    """It owns the customer no more. What the others have there stays theirs."""
    tx.execute(_TAKE_AWAY, {"customer": stripe_customer_id, "kind": owner.kind.value, "id": owner.id})


def whose(tx: Connection, customer: Customer, stripe_customer_id: str, named: Owner | None) -> Owner | None:
    """Whose a subscription on this customer is, whose metadata names `named`."""
    shares = of(tx, [stripe_customer_id]).get(stripe_customer_id, [])
    return domain.whose(shares, customer.user_id, named)
