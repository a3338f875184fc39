"""A real browser: Debian's Chromium, headless, driven by Playwright. Without them the tests are skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.integration.accounts.conftest import deployment, new_accounts
from tests.integration.provisioning.conftest import closing, new_stack, quick_probes

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

__all__ = ["closing", "deployment", "new_accounts", "new_stack", "quick_probes"]

CHROMIUM = shutil.which("chromium")


@pytest.fixture
def browser() -> Iterator[BrowserContext]:
    """One window's worth of tabs. The application that Stripe's pages lead back to is a page without content."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-browser")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on PATH (Debian: apt-get install chromium)")
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []  # which it doesn't do as root
    with driver.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        context = chromium.new_context()
        context.set_default_timeout(60_000)
        context.route("https://app.example.com/**", lambda route: route.fulfill(body="back"))
        yield context
        chromium.close()
