"""The sandbox's one error."""

from __future__ import annotations

from worker.errors import SubkeeperError


class PartFailed(SubkeeperError):
    """A part of the sandbox could not be built, started or stopped; the message says which, why, and what to do."""

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(f"{part}: {problem}")
        self.part = part
        self.problem = problem
