"""Who owns a customer of Stripe's, and whose a subscription on it is (docs/design.md, *Whose a subscription is*).

The user whom it was made for owns a customer as its payer. Others may be given a role on it, and that one may lose it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import NamedTuple

from worker.domain.provisioning import project_digest, user_digest


class OwnerKind(StrEnum):
    USER = "user"
    PROJECT = "project"


class Role(StrEnum):
    PAYER = "payer"
    """May pay: Checkout, cards and defaults are theirs, too."""
    MEMBER = "member"
    """May have subscriptions there."""


class Owner(NamedTuple):
    """`id`: the user's, or the project's."""

    kind: OwnerKind
    id: str


class Share(NamedTuple):
    """An owner of a customer, and as what."""

    owner: Owner
    role: Role


def user(user_id: str) -> Owner:
    return Owner(OwnerKind.USER, user_id)


class Named(NamedTuple):
    """Whom an object's metadata names, and the digest with that."""

    user_id: str | None
    project_id: str | None
    digest: str | None


def metadata_of(owner: Owner, namespace: str) -> Mapping[str, str]:
    """What names this owner on an object of Stripe's."""
    if owner.kind is OwnerKind.USER:
        return {"subkeeper": user_digest(namespace, owner.id), "user_id": owner.id}
    return {"subkeeper": project_digest(namespace, owner.id), "project_id": owner.id}


def told_of(customer_id: str, share: Share, namespace: str) -> dict[str, object]:
    """What the API tells of an owner."""
    owner = share.owner
    return {
        "customer": customer_id,
        "user_id": owner.id if owner.kind is OwnerKind.USER else None,
        "project_id": owner.id if owner.kind is OwnerKind.PROJECT else None,
        "role": share.role.value,
        "metadata": metadata_of(owner, namespace),
    }


def named_owner(named: Named, namespace: str) -> Owner | None:
    """Who is named, if the digest with it is ours: anybody may write a name."""
    choices = ((OwnerKind.USER, named.user_id), (OwnerKind.PROJECT, named.project_id))
    found = [Owner(kind, identifier) for kind, identifier in choices if identifier is not None]
    return next((each for each in found if metadata_of(each, namespace)["subkeeper"] == named.digest), None)


def is_shared(shares: Collection[Share], own: str) -> bool:
    """Whether not just its own user owns a customer."""
    return [each.owner for each in shares] != [user(own)]


def whose(shares: Collection[Share], own: str, named: Owner | None) -> Owner | None:
    """Whose a subscription is on a customer with these owners, that was made for the user `own`; None: nobody's that
    we know.

    What is on one user's customer is that user's, but for a project's of before. On a shared one its metadata alone
    says so, and only of somebody who owns the customer: nothing is guessed.
    """
    if not is_shared(shares, own):
        return None if named is not None and named.kind is OwnerKind.PROJECT else user(own)
    return named if named in {each.owner for each in shares} else None
