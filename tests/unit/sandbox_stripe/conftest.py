"""An account of each test's own."""

from __future__ import annotations

import pytest

from tests.unit.sandbox_stripe.account import Account


@pytest.fixture
def account() -> Account:
    return Account().open()
