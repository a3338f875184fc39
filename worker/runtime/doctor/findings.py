"""What a check found, and checks that are bounded in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from queue import Empty, SimpleQueue

from worker.errors import Misconfigured, SubkeeperError, Unavailable

Findings = Iterator["Finding"]


class Verdict(StrEnum):
    """`WARNING`: a worker would run, but less well than it could. `PROBLEM`: it would not, or would lose something."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line for people: what was found, and what to do about it ("" where nothing is)."""

    verdict: Verdict
    check: str
    detail: str
    fix: str = ""


def ok(check: str, detail: str) -> Finding:
    return Finding(Verdict.OK, check, detail)


def warning(check: str, detail: str, fix: str) -> Finding:
    return Finding(Verdict.WARNING, check, detail, fix)


def problem(check: str, detail: str, fix: str) -> Finding:
    return Finding(Verdict.PROBLEM, check, detail, fix)


def skipped(check: str, because: str) -> Finding:
    return Finding(Verdict.SKIPPED, check, because)


def refused(check: str, error: SubkeeperError, fix: str) -> Finding:
    """An error of ours as a problem; its own fix counts where it has one."""
    if isinstance(error, Misconfigured):
        return problem(check, f"{error.key}: {error.problem}", error.fix)
    if isinstance(error, Unavailable):
        return problem(check, error.problem, error.fix or fix)
    return problem(check, str(error), fix)


class Bounded:
    """Checks in a thread of their own: what hangs, or fails for a bug of ours, keeps nobody else from being told."""

    def __init__(self, check: str, findings: Callable[[], Findings], whom: str = "") -> None:
        """Begins at once. `check` names them, and `whom` who is asked, where they say nothing themselves."""
        self._check = check
        self._whom = f"{whom}: " if whom else ""
        self._findings = findings
        self._found: SimpleQueue[Finding | None] = SimpleQueue()
        threading.Thread(target=self._run, name=f"doctor-{check}", daemon=True).start()

    def results(self, until: float) -> Findings:
        """What they find, as they find it; a problem where they are not done at `until` (by `time.monotonic`)."""
        while True:
            try:
                finding = self._found.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                detail = f"{self._whom}no answer in time; what it would still have told is not known"
                yield problem(
                    self._check, detail, "Look for a firewall or a name server that swallows what it is asked"
                )
                return
            if finding is None:
                return
            yield finding

    def _run(self) -> None:
        try:
            for finding in self._findings():
                self._found.put(finding)
        except SubkeeperError as error:
            self._found.put(refused(self._check, error, "Try again"))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one check, the others are told
            self._found.put(problem(self._check, f"the check failed: {type(error).__name__}", "Report this as a bug"))
        finally:
            self._found.put(None)
