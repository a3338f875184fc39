"""Tests of the contract against a real account: which one, and the table of how it answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

import pytest

from tests.contract.account import Terms
from worker.errors import SubkeeperError

TERMS = pytest.StashKey[Terms]()
"""In pytest's configuration: the account that is asked instead of the sandbox's."""

VERDICTS = ("agreed", "differed", "not allowed", "unclear")
"""`unclear`: no answer was had, or the test itself broke; it says nothing of what we believe."""

_DIFFERENCES = (AssertionError, LookupError, TypeError, ValueError, SubkeeperError)
"""What an answer of another shape makes of a test, too: a field that isn't there, an object too many."""

_VERDICT = "verdict"
_LONGEST = 600  # seconds that one test may take where clocks advance at Stripe


class RealAccount:
    """A plugin for pytest."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._rows: dict[str, tuple[str, str]] = {}

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[TERMS] = self._terms

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            item.add_marker(pytest.mark.timeout(_LONGEST))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.excinfo is not None:
            report.user_properties.append((_VERDICT, f"{_verdict(call.excinfo)}\n{call.excinfo.value}"))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The first of setup, call and teardown that went wrong has the word."""
        said = dict(report.user_properties).get(_VERDICT)
        if said is not None and (report.when != "teardown" or self._rows[report.nodeid][0] == "agreed"):
            verdict, _, why = str(said).partition("\n")
            self._rows[report.nodeid] = (verdict, why.strip().partition("\n")[0])
        self._rows.setdefault(report.nodeid, ("agreed", ""))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section(f"what we believe of Stripe, asked of {self._terms.url}")
        for nodeid, (verdict, why) in self._rows.items():
            terminalreporter.write_line(f"{verdict:<12} {_sentence(nodeid)}{f': {why[:160]}' if why else ''}")
        count = Counter(verdict for verdict, _ in self._rows.values())
        terminalreporter.write_line(", ".join(f"{count[verdict]} {verdict}" for verdict in VERDICTS))


def _verdict(raised: pytest.ExceptionInfo[BaseException]) -> str:
    if raised.errisinstance(pytest.skip.Exception):
        return "not allowed"
    return "differed" if raised.errisinstance(_DIFFERENCES) else "unclear"


def _sentence(nodeid: str) -> str:
    return nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
