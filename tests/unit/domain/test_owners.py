"""Whose a subscription is: its customer's user's, and on a shared one whom its metadata names."""

from __future__ import annotations

import pytest

from worker.domain.owners import Named, Owner, OwnerKind, Role, Share, is_shared, metadata_of, named_owner, user, whose

ANN, BOB, PROJECT = user("ann"), user("bob"), Owner(OwnerKind.PROJECT, "p")
ALONE = [Share(ANN, Role.PAYER)]
MEMBER_ALONE = [Share(ANN, Role.MEMBER)]
SHARED = [Share(ANN, Role.PAYER), Share(PROJECT, Role.MEMBER)]
BOBS = [Share(BOB, Role.PAYER)]


@pytest.mark.parametrize(
    ("shares", "named", "found"),
    [
        (ALONE, None, ANN), (ALONE, ANN, ANN), (ALONE, BOB, ANN), (ALONE, PROJECT, None), (MEMBER_ALONE, None, ANN),
        (SHARED, None, None), (SHARED, ANN, ANN), (SHARED, PROJECT, PROJECT), (SHARED, BOB, None),
        (BOBS, None, None), (BOBS, ANN, None), (BOBS, BOB, BOB),
        ([], None, None), ([], ANN, None),
    ],
)  # fmt: skip
def test_nothing_is_guessed_on_a_customer_that_is_not_its_own_users_alone(
    shares: list[Share], named: Owner | None, found: Owner | None
) -> None:
    assert whose(shares, "ann", named) == found
    assert is_shared(shares, "ann") is (shares not in (ALONE, MEMBER_ALONE))


@pytest.mark.parametrize("owner", [ANN, PROJECT, Owner(OwnerKind.PROJECT, "ann")])
def test_who_is_named_is_who_the_digest_is_of(owner: Owner) -> None:
    metadata = metadata_of(owner, "here")
    named = Named(metadata.get("user_id"), metadata.get("project_id"), metadata["subkeeper"])
    assert named_owner(named, "here") == owner
    assert named_owner(named, "elsewhere") is None
    assert named_owner(named._replace(digest=None), "here") is None
    both = Named("ann", "ann" if owner != PROJECT else "p", named.digest)
    assert named_owner(both, "here") == owner
    assert named_owner(Named(None, None, named.digest), "here") is None
