"""Subkeeper's errors: few, and each says who must act.

    SubkeeperError
    ├── Rejected        this message or row can never work as it is: quarantine it
    ├── TryLater        this row, later: nothing is wrong that time doesn't mend
    │   └── Contended   somebody else's transaction is in the way
    ├── Unavailable     a dependency is away: stop taking work until it is back
    │   └── AccessRefused   it is there, and a person must make it let us in: waited for all the same
    ├── Unforeseen      the database said what no code expects: a bug, or a schema changed by hand; loud
    ├── Misconfigured   a person must act: refuse to start, or stop settling, loudly
    └── Conflict        the database holds it already (see `worker.store.engine.errors` for the named ones)

Foreign errors (Stripe's, Postgres's, NSQ's) are translated once, in the adapter that met them, `from` the original.
Messages are for the people who run Subkeeper; none may carry personal data or a secret.
"""

from __future__ import annotations


class SubkeeperError(Exception):
    """The base of every error that Subkeeper raises on purpose."""


class Rejected(SubkeeperError):
    """What was asked can never work as it stands; it is kept in quarantine, with this reason.

    `reason` is a constant in snake_case, to group and count by; `detail` says what was wrong, without personal data.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class TryLater(SubkeeperError):
    """This row cannot be settled now; `after` is the least wait in seconds (0: the retry schedule decides)."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Contended(TryLater):
    """A lock that somebody else holds, or a deadlock with them, kept this from being written."""


class Unavailable(SubkeeperError):
    """A dependency (`"postgres"`, `"nsqd"`, `"nsqlookupd"`, `"stripe"`) is away; work waits until it is back.

    `fix` says what to do about it, where that is known better here than by whoever tells it.
    """

    def __init__(self, dependency: str, detail: str, fix: str = "") -> None:
        self.dependency = dependency
        self.detail = detail
        self.fix = fix
        super().__init__(dependency, detail, fix)

    @property
    def problem(self) -> str:
        """What is wrong, without the fix."""
        return f"{self.dependency} is unavailable: {self.detail}"

    def __str__(self) -> str:
        return f"{self.problem}. {self.fix}" if self.fix else self.problem


class AccessRefused(Unavailable):
    """A dependency is there and refuses us (a password, a role, a privilege): only a person can mend it.

    A worker waits, since that needs no restart; a command ends as with any setting that must be changed.
    """

    @property
    def problem(self) -> str:
        return f"{self.dependency} can't be used: {self.detail}"


class Unforeseen(SubkeeperError):
    """The database said what no code expects: a bug of ours, or a schema changed by hand. Work waits, loudly."""


class Misconfigured(SubkeeperError):
    """Only a person can mend this: `key` names the setting at fault, `fix` says what to do about it."""

    def __init__(self, key: str, problem: str, fix: str) -> None:
        super().__init__(f"{key}: {problem}. {fix}")
        self.key = key
        self.problem = problem
        self.fix = fix


class Conflict(SubkeeperError):
    """The database already holds a row that this one would double."""
