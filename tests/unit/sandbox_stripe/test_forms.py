"""Form decoding: whatever nesting a client encodes comes back."""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.stripe.errors import ApiError
from sandbox.stripe.forms import Form, Tree, decode, fingerprint

_Names: TypeAlias = st.SearchStrategy[str]

_NAMES: _Names = st.text(st.characters(exclude_characters="[]", exclude_categories=["Cs"]), min_size=1, max_size=8)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def _nodes(children: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.dictionaries(_NAMES, children, min_size=1, max_size=3)


_FORMS: st.SearchStrategy[Form] = st.dictionaries(_NAMES, st.recursive(_TEXT, _nodes, max_leaves=6), max_size=4).filter(
    lambda form: _depth(form) <= 7
)


def _depth(node: Tree) -> int:
    return 0 if isinstance(node, str) else 1 + max((_depth(child) for child in node.values()), default=0)


def _encoded(node: Tree, name: str = "") -> list[str]:
    if isinstance(node, str):
        return [f"{quote_plus(name)}={quote_plus(node)}"]
    pairs = []
    for key, child in node.items():
        pairs += _encoded(child, f"{name}[{key}]" if name else key)
    return pairs


@given(_FORMS)
def test_decoding_undoes_encoding(form: Form) -> None:
    assert decode("&".join(_encoded(form)).encode()) == form


@given(_FORMS)
def test_a_fingerprint_does_not_depend_on_the_order_of_parameters(form: Form) -> None:
    reordered = decode("&".join(reversed(_encoded(form))).encode())
    assert fingerprint("POST", "/v1/x", reordered) == fingerprint("POST", "/v1/x", form)
    assert fingerprint("POST", "/v1/y", form) != fingerprint("POST", "/v1/x", form)


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_refused_with_400(raw: bytes) -> None:
    try:
        decode(raw)
    except ApiError as error:
        assert error.status == 400  # noqa: PT017 - only some bytes are refused


def test_lists_come_with_and_without_indices() -> None:
    assert decode(b"expand[]=a&expand[]=b") == decode(b"expand[0]=a&expand[1]=b") == {"expand": {"0": "a", "1": "b"}}


@pytest.mark.parametrize(
    "raw", [b"a[=1", b"[a]=1", b"a[b]c=1", b"a=1&a[b]=2", b"a[b]=1&a=2", b"a" + b"[b]" * 9 + b"=1", b"a=%ff"]
)
def test_a_malformed_name_or_text_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError):
        decode(raw)
