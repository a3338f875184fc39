"""Who asks, and what they may: scopes, and the rule that each route of the API has."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import NamedTuple

from worker.errors import SubkeeperError


class Scope(NamedTuple):
    """What a token may be granted (OAuth 2.0's `scope`)."""

    id: str
    description: str


ADMIN = Scope("subscriptions:admin", "Read every subscription, and change what users may not")
READ = Scope("subscriptions:read", "Read every subscription")
SCOPES = (ADMIN, READ)


class Caller(NamedTuple):
    """`user_id`: the user that a token is of, None for an admin token. `name` stands for the caller in the log."""

    user_id: str | None
    scopes: frozenset[str]
    name: str

    @property
    def is_admin(self) -> bool:
        return ADMIN.id in self.scopes


class Access(Enum):
    """Who may call a route. A route says of which users it is; `OWN` and `CHANGE` allow each caller their own. `PAYER`
    lets users in: what they pay for the route then finds by who asks, and refuses who pays for none of it."""

    PUBLIC = "anybody"
    OWN = "the user themselves, or one of these scopes"
    PAYER = "a user who is a payer of its customer, or one of these scopes"
    READ = "one of these scopes"
    CHANGE = "the user themselves, or an admin"
    ADMIN = "an admin"

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Any one of them opens the route for everybody's; the first is the least."""
        if self is Access.PUBLIC:
            return ()
        return (ADMIN,) if self in {Access.CHANGE, Access.ADMIN} else (READ, ADMIN)

    @property
    def allows_own(self) -> bool:
        """Whether each caller may about themselves, or what they pay for, without a scope."""
        return self in {Access.OWN, Access.CHANGE, Access.PAYER}


def may_call(access: Access, caller: Caller | None, user_ids: Collection[str]) -> bool:
    """Whether the caller (None: no token) may do so with these users. Who asks about nobody needs a scope."""
    if access is Access.PUBLIC:
        return True
    if caller is None:
        return False
    if is_for_all(access, caller):
        return True
    is_own = access is Access.PAYER or set(user_ids) == {caller.user_id}
    return access.allows_own and caller.user_id is not None and is_own


def is_for_all(access: Access, caller: Caller) -> bool:
    """Whether a scope opens the route to the caller for everybody's."""
    return any(scope.id in caller.scopes for scope in access.scopes)


class TokenRefused(SubkeeperError):
    """A token that is nobody's: `reason` is a constant, never a word of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MustWait(SubkeeperError):
    """Whose a token is can't be told without waiting."""
