"""SQL of `billing_owners`: who owns which customer.

Without a row there, a customer is its own user's, who is its payer: so it was before there were owners, and so
processes that don't know the table go on writing it. A row of that user's says otherwise; without a role, that they own
it no more.
Whoever gives or takes away has the customer's row locked (`customers.locked`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.domain import owners as domain
from worker.domain.owners import Owner, OwnerKind, Role, Share, user
from worker.store import customers
from worker.store.customers import Owner as Customer
from worker.store.engine import arrays

# Whoever it was made for, unless a row says otherwise.
_UNSAID = """
    c.deleted_at IS NULL AND NOT EXISTS (
        SELECT FROM billing_owners o
        WHERE o.billing_customer_id = c.id AND o.owner_kind = 'user' AND o.owner_id = c.user_id)
"""

# Who is asked about, and so many others that it is told whether there are any.
_OF = text(f"""
    SELECT DISTINCT c.stripe_customer_id, found.owner_kind, found.owner_id, found.role
    FROM unnest(CAST(:customers AS text[]), CAST(:kinds AS text[]), CAST(:ids AS text[])) AS asked (customer, kind, id)
    JOIN billing_customers c ON c.stripe_customer_id = asked.customer AND c.deleted_at IS NULL
    CROSS JOIN LATERAL (
        SELECT 'user' AS owner_kind, c.user_id AS owner_id, 'payer' AS role WHERE {_UNSAID}
        UNION ALL (
            SELECT o.owner_kind, o.owner_id, o.role FROM billing_owners o
            WHERE o.billing_customer_id = c.id AND o.role IS NOT NULL ORDER BY o.owner_kind, o.owner_id LIMIT 2)
        UNION ALL
        SELECT o.owner_kind, o.owner_id, o.role FROM billing_owners o
        WHERE o.billing_customer_id = c.id AND o.owner_kind = asked.kind AND o.owner_id = asked.id
            AND o.role IS NOT NULL
    ) AS found
    ORDER BY 1, 2, 3
""")  # noqa: S608 - a constant

# A page of them, read in the order of the primary key; and, by the index on owners, of what somebody owns: `c.id` is
# said again for Postgres to begin there with both tables.
_PAGE = text(f"""
    SELECT 'user' AS owner_kind, c.user_id AS owner_id, 'payer' AS role
    FROM billing_customers c WHERE c.stripe_customer_id = :customer AND ('user', c.user_id) > (:kind, :id) AND {_UNSAID}
    UNION ALL (
        SELECT o.owner_kind, o.owner_id, o.role
        FROM billing_owners o WHERE o.billing_customer_id = (
                SELECT id FROM billing_customers WHERE stripe_customer_id = :customer AND deleted_at IS NULL)
            AND (o.owner_kind, o.owner_id) > (:kind, :id) AND o.role IS NOT NULL
        ORDER BY o.owner_kind, o.owner_id LIMIT :limit)
    ORDER BY owner_kind, owner_id LIMIT :limit
""")  # noqa: S608 - as above
_OWNED = text(f"""
    SELECT c.id, c.stripe_customer_id, 'payer' AS role
    FROM billing_customers c WHERE :kind = 'user' AND c.user_id = :id AND c.id > :after AND {_UNSAID}
    UNION ALL (
        SELECT c.id, c.stripe_customer_id, o.role
        FROM billing_owners o JOIN billing_customers c ON c.id = o.billing_customer_id
        WHERE o.owner_id = :id AND o.owner_kind = :kind AND o.billing_customer_id > :after AND c.id > :after
            AND c.deleted_at IS NULL AND o.role IS NOT NULL
        ORDER BY o.billing_customer_id LIMIT :limit)
    ORDER BY id LIMIT :limit
""")  # noqa: S608 - as above

_ROLE = text("""
    SELECT CASE WHEN o.owner_id IS NOT NULL THEN o.role WHEN :kind = 'user' AND c.user_id = :id THEN 'payer' END
    FROM billing_customers c LEFT JOIN billing_owners o
        ON o.billing_customer_id = c.id AND o.owner_kind = :kind AND o.owner_id = :id
    WHERE c.stripe_customer_id = :customer AND c.deleted_at IS NULL
""")

_PROJECTS_PAID_BY = text("""
    SELECT c.stripe_customer_id
    FROM billing_owners project JOIN billing_customers c ON c.id = project.billing_customer_id
    LEFT JOIN billing_owners payer
        ON payer.billing_customer_id = c.id AND payer.owner_kind = 'user' AND payer.owner_id = :user_id
    WHERE project.owner_kind = 'project' AND project.owner_id = :project_id AND c.deleted_at IS NULL
        AND CASE WHEN payer.owner_id IS NULL THEN c.user_id = :user_id ELSE payer.role = 'payer' END
""")

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


class Owned(NamedTuple):
    """A customer that somebody owns (Stripe's id), and as what. `number`: its place among those."""

    number: int
    customer_id: str
    role: Role


def of(tx: Connection, asked: Collection[tuple[str, Owner | None]]) -> dict[str, list[Share]]:
    """Of who owns these customers (Stripe's ids; a deleted one is nobody's) what `domain.whose` asks: each named with
    one, if they own it, and two at most besides the one that it was made for."""
    customer_ids, named = [each for each, _ in asked], [owner or ("", "") for _, owner in asked]
    kinds, ids = [str(kind) for kind, _ in named], [identifier for _, identifier in named]
    parameters = {"customers": arrays.texts(customer_ids), "kinds": arrays.texts(kinds), "ids": arrays.texts(ids)}
    found: dict[str, list[Share]] = {}
    for customer_id, kind, identifier, role in tx.execute(_OF, parameters):
        found.setdefault(customer_id, []).append(Share(Owner(OwnerKind(kind), identifier), Role(role)))
    return found


def has_others(tx: Connection, stripe_customer_id: str, user_id: str) -> bool:
    """Whether anybody but this user owns the customer. While that is so, it is not the user's to delete."""
    return any(each.owner != user(user_id) for each in page(tx, stripe_customer_id, None, 2))


def is_shared(tx: Connection, stripe_customer_id: str) -> bool:
    """Whether not just its own user owns the customer; one that isn't ours is nobody's."""
    customer = customers.owners(tx, [stripe_customer_id]).get(stripe_customer_id)
    return customer is not None and domain.is_shared(page(tx, stripe_customer_id, None, 2), customer.user_id)


def has_living(tx: Connection, stripe_customer_id: str, owner: Owner) -> bool:
    """Whether this owner has subscriptions on the customer that haven't ended."""
    found = tx.execute(_LIVING, {"customer": stripe_customer_id, "kind": owner.kind.value, "id": owner.id})
    return bool(found.scalar_one())


def has_work(tx: Connection, stripe_customer_id: str, user_id: str) -> bool:
    """Whether the user has changes under way there, or pages that haven't ended: what comes of them would be
    nobody's."""
    found = tx.execute(_WORK, {"customer": stripe_customer_id, "user_id": user_id})
    return bool(found.scalar_one())


def page(tx: Connection, stripe_customer_id: str, after: Owner | None, limit: int) -> list[Share]:
    """Who owns the customer, `limit` at most: projects, then users, each by id, from behind `after` on."""
    kind, identifier = after or ("", "")
    parameters = {"customer": stripe_customer_id, "kind": str(kind), "id": identifier, "limit": limit}
    return [
        Share(Owner(OwnerKind(row.owner_kind), row.owner_id), Role(row.role)) for row in tx.execute(_PAGE, parameters)
    ]


def owned_by(tx: Connection, owner: Owner, after: int = 0, limit: int | None = None) -> list[Owned]:
    """The customers that it owns, `limit` at most (None: all), in the order in which they came to be ours, from behind
    the number `after` on."""
    parameters = {"kind": owner.kind.value, "id": owner.id, "after": after, "limit": limit}
    return [Owned(row.id, row.stripe_customer_id, Role(row.role)) for row in tx.execute(_OWNED, parameters)]


def role(tx: Connection, stripe_customer_id: str, owner: Owner) -> Role | None:
    """As what it owns the customer; None: it doesn't own it."""
    parameters = {"customer": stripe_customer_id, "kind": owner.kind.value, "id": owner.id}
    found = tx.execute(_ROLE, parameters).scalar()
    return None if found is None else Role(found)


def of_project_paid_by(tx: Connection, project_id: str, user_id: str) -> list[str]:
    """Those of the project's customers (Stripe's ids) that this user is a payer of."""
    return list(tx.execute(_PROJECTS_PAID_BY, {"project_id": project_id, "user_id": user_id}).scalars())


def give(tx: Connection, stripe_customer_id: str, share: Share) -> None:
    """This owner has this role there, whatever it had before."""
    owner, role = share
    tx.execute(_GIVE, {"customer": stripe_customer_id, "kind": owner.kind.value, "id": owner.id, "role": role.value})


def take_away(tx: Connection, stripe_customer_id: str, owner: Owner) -> None:
    """It owns the customer no more. What the others have there stays theirs."""
    tx.execute(_TAKE_AWAY, {"customer": stripe_customer_id, "kind": owner.kind.value, "id": owner.id})


def whose(tx: Connection, customer: Customer, stripe_customer_id: str, named: Owner | None) -> Owner | None:
    """Whose a subscription on this customer is, whose metadata names `named`."""
    shares = of(tx, [(stripe_customer_id, named)]).get(stripe_customer_id, [])
    return domain.whose(shares, customer.user_id, named)
