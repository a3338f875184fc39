"""What is generated from the API's own document is never answered with a 5xx, or outside of it."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, cast

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from sandbox.nsq import Nsqd
from sandbox.postgres import PostgresServer
from sandbox.stripe.server import StripeServer
from tests.integration.accounts.conftest import ADMIN, DEPLOYMENT, Accounts
from tests.integration.web.callers import ask
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until

MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
EXAMPLES = 20


@pytest.fixture(scope="module")
def api(
    postgres_server: PostgresServer, migrated_template: str, nsqd: Nsqd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Accounts]:
    """Somebody has signed up, and whoever is created is settled."""
    name = f"test_api_{secrets.token_hex(6)}"
    with ExitStack() as closing:
        closing.callback(postgres_server.drop_database, name)
        stack = Stack(
            closing,
            directory=tmp_path_factory.mktemp("api"),
            database_url=postgres_server.create_database(name, template=migrated_template),
            nsqd=nsqd,
            topics=cast("tuple[str, str, str]", tuple(f"api.{secrets.token_hex(4)}" for _ in range(3))),
            stripe=closing.enter_context(StripeServer(seed=secrets.token_hex(8))),
            rng=random.Random(1),
            environ=DEPLOYMENT,
        )
        stack.setup()
        stack.start_worker("profiles")
        stack.publish(profile("0"))
        stack.await_completed("0")
        web = stack.start_worker("web")
        wait_until(web.is_ready)
        yield Accounts(stack, web)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: str(mode.value))
def test_whatever_is_asked_is_answered_as_the_document_says(api: Accounts, mode: GenerationMode, seed: int) -> None:
    """What fits the document may be refused all the same: for a state that isn't there, a card that nobody has, a
    cursor that nobody was told. What doesn't may be taken: in an address or a header a number is a text, too."""
    schema = schemathesis.openapi.from_dict(ask(api, "/openapi.json").body)
    tried = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not list(operation.iter_parameters()):
            continue

        @hypothesis.seed(seed)
        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def answered(case: Any) -> None:
            nonlocal tried
            tried += 1
            is_paged = any(each.name == "cursor" for each in case.operation.iter_parameters())
            allowed = [positive_data_acceptance] if case.method.upper() != "GET" or is_paged else []
            url, headers = f"http://127.0.0.1:{api.web_port}", {"Authorization": f"Bearer {ADMIN.token}"}
            case.validate_response(
                case.call(base_url=url, headers=headers), excluded_checks=[*allowed, negative_data_rejection]
            )

        answered()
    assert tried > EXAMPLES
