"""The query language of Search."""

from __future__ import annotations

import pytest

from sandbox.stripe.errors import ApiError
from sandbox.stripe.objects import customer
from sandbox.stripe.search import parse

ADA = customer(
    "cus_a", 100, {"email": "ada@example.com", "name": "Ada O'Hara", "metadata": {"user_id": "u1", "odd \"k'ey": "x"}}
)


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("email:'ada@example.com'", True),
        ('email:"ADA@example.com"', True),
        ("email:'ada'", False),
        ("email~'exam'", True),
        ("metadata['user_id']:'u1'", True),
        ('metadata["user_id"]:"u2"', False),
        ("metadata['odd \"k\\'ey']:'x'", True),
        ("metadata['gone']:null", True),
        ("-metadata['gone']:null", False),
        ("metadata['user_id']:'u1' AND email:'ada@example.com'", True),
        ("metadata['user_id']:'u1' email:'eve@example.com'", False),
        ("metadata['user_id']:'u2' OR name:'ada o\\'hara'", True),
        ("-email:'eve@example.com'", True),
        ("phone:null", True),
        ("created>99 AND created<101", True),
        ("created>=101", False),
    ],
)
def test_a_query_matches(query: str, matches: bool) -> None:
    assert parse("customer", query)(ADA) is matches


@pytest.mark.parametrize(
    "query", ["email", "email:ada", "created:'x'", "name~'a'", "email>'a'", "status:'active'", "email:'a' AND"]
)
def test_what_is_no_query_is_refused(query: str) -> None:
    with pytest.raises(ApiError):
        parse("customer", query)
