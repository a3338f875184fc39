"""The API over real HTTP, with a real Postgres behind it and an identity provider's keys."""

from __future__ import annotations

import base64
import random
import re
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import jsonschema
import psycopg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from bench.load import Load
from sandbox.nsq import Nsqd
from sandbox.postgres import PostgresServer
from tests.integration.web.callers import TRIAL_END, Reply, ask, subscribe, token_of
from tests.integration.web.conftest import Endpoint, NewEndpoint, body_of, serving
from tests.integration.web.identity_provider import IdentityProvider, publishing
from tests.support.jwts import AUDIENCE, ISSUER, SECRET, claims, ec_key, jwk, jwks, signed
from tests.support.waiting import wait_until
from worker.accounts.tokens import new_token
from worker.domain.callers import Access
from worker.runtime.web import Web
from worker.settings.sections import DatabaseSettings
from worker.store.engine.database import Database
from worker.store.engine.migrations import upgrade

ADMIN = new_token()
READER = "subscriptions:read"


def cursor(told: str) -> str:
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


def callers(database_url: str, provider: IdentityProvider) -> dict[str, str]:
    return {
        "SUBKEEPER_DATABASE__URL": database_url,
        "SUBKEEPER_API__ADMIN_TOKENS": ADMIN.digest,
        "SUBKEEPER_API__JWKS_URL": provider.url,
        "SUBKEEPER_API__JWT_ISSUER": ISSUER,
        "SUBKEEPER_API__JWT_AUDIENCE": AUDIENCE,
    }


@pytest.fixture(scope="module")
def shared_url(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    name = f"test_api_{secrets.token_hex(6)}"
    yield postgres_server.create_database(name, template=migrated_template)
    postgres_server.drop_database(name)


@pytest.fixture(scope="module")
def shared_api(shared_url: str, nsqd: Nsqd) -> Iterator[Endpoint]:
    with (
        publishing(jwks(jwk(ec_key()))) as provider,
        serving(nsqd, f"api.{secrets.token_hex(4)}", random.Random(1), callers(shared_url, provider)) as endpoint,
    ):
        wait_until(endpoint.is_ready)
        yield endpoint


@pytest.fixture
def database_url(shared_url: str) -> str:
    """One for all of these tests, emptied for each."""
    with psycopg.connect(shared_url) as tx:
        tx.execute("TRUNCATE billing_customers, provisionings CASCADE")
    return shared_url


@pytest.fixture
def api(shared_api: Endpoint, database_url: str) -> Endpoint:
    return shared_api


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with publishing(jwks(jwk(ec_key()))) as provider:
        yield provider


class NewApi(Protocol):
    def __call__(self, *, is_ready: bool = True, **environ: str) -> Endpoint: ...


@pytest.fixture
def new_api(new_endpoint: NewEndpoint, provider: IdentityProvider, database_url: str) -> NewApi:
    """Starts one that this test alone uses."""

    def start(*, is_ready: bool = True, **environ: str) -> Endpoint:
        return new_endpoint(nsqd=None, is_ready=is_ready, **{**callers(database_url, provider), **environ})

    return start


def read(api: Endpoint, user_id: str, token: str | None = None, query: str = "", **headers: str) -> Reply:
    return ask(api, f"/subscriptions/{quote(user_id, safe='')}{query}", token or token_of(user_id), **headers)


def test_users_read_their_own_current_subscription(api: Endpoint, database_url: str) -> None:
    failing: dict[str, Any] = {
        "charge_invoice": "in_1",
        "charge_invoice_created": TRIAL_END,
        "failed_charge_attempts": 2,
    }
    identifier = subscribe(database_url, "u-1", **failing)
    reply = read(api, "u-1")
    assert reply.status == 200
    assert reply.body == {
        "user_id": "u-1",
        "project_id": None,
        "stripe_subscription": identifier,
        "plan": "pending",
        "status": "trialing",
        "current": True,
        "active": True,
        "grants_access": True,
        "payable": False,
        "canceling": False,
        "trial_start": None,
        "trial_end": "2027-01-01T00:00:00Z",
        "period_start": None,
        "period_end": None,
        "canceled_at": None,
        "ended_at": None,
        "failed_charge_attempts": 2,
        "last_failed_charge": None,
        "version": 3,
    }
    assert reply.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("who", "own", "anothers", "both"),
    [
        (None, 401, 401, 401),
        ("forged", 401, 401, 401),
        (token_of("u-1"), 200, 403, 403),
        (token_of("u-1", READER), 200, 200, 200),
        (token_of("other", "subscriptions:admin"), 200, 200, 200),
        (token_of("other", "admin subscriptions"), 403, 403, 403),
        (ADMIN.token, 200, 200, 200),
        (new_token().token, 401, 401, 401),
    ],
    ids=[
        "nobody", "a forger", "the user", "a reader", "an admin by scope", "a user with scopes of others",
        "an admin token", "a token of another deployment",
    ],
)  # fmt: skip
def test_who_may_read_what(
    api: Endpoint, database_url: str, who: str | None, own: int, anothers: int, both: int
) -> None:
    subscribe(database_url, "u-1")
    subscribe(database_url, "u-2")
    for user_id, expected in (("u-1", own), ("u-2", anothers)):
        assert ask(api, f"/subscriptions/{user_id}", who).status == expected
        assert ask(api, f"/subscriptions?user_id={user_id}", who).status == expected
    assert ask(api, "/subscriptions?user_id=u-1&user_id=u-2", who).status == both


def test_every_route_has_an_access_rule_and_keeps_to_it(api: Endpoint) -> None:
    """Nobody's and another user's token on each of them, whatever it is for."""
    web = api.process.fronts[0]
    assert isinstance(web, Web)
    assert web.api is not None
    operations = {each.name: each for each in web.api.app.operations}
    assert {getattr(route, "name", None) for route in web.api.app.router.routes} == set(operations)
    for each in operations.values():
        of_many = any((which.name, which.place) == ("user_id", "query") for which in each.parameters)
        path = each.path.replace("{user_id}", "u-2") + ("?user_id=u-2" if of_many else "")
        body = {"user_id": "u-2"} if each.names_user else None
        statuses = [ask(api, path, token, each.method, body).status for token in (None, "forged", token_of("u-1"))]
        if each.access is Access.PUBLIC:
            assert (each.name, statuses[0]) == ("read_openapi", 200)
        else:
            assert statuses == [401, 401, 403], each.name


def test_refusals_say_how_to_ask_and_nothing_of_the_token(api: Endpoint) -> None:
    nobody, forged, other = (ask(api, "/subscriptions/u-2", who) for who in (None, "forged", token_of("u-1")))
    assert [each.body["code"] for each in (nobody, forged, other)] == ["no_token", "invalid_token", "not_yours"]
    assert nobody.headers["WWW-Authenticate"] == "Bearer"
    assert forged.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert other.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="subscriptions:read"'
    for each in (nobody, forged, other):
        assert each.headers["Content-Type"] == "application/problem+json"


def test_whether_another_has_a_subscription_is_not_told(api: Endpoint, database_url: str) -> None:
    subscribe(database_url, "there")
    token = token_of("u-1")
    found, missing = (read(api, user_id, token).body for user_id in ("there", "missing"))
    assert found == missing


@pytest.mark.parametrize(
    ("status", "plan", "current", "active", "grants_access"),
    [
        ("trialing", "pending", True, True, True),
        ("active", "pending", True, True, False),
        ("active", "pro", True, True, True),
        ("past_due", "pro", True, False, True),
        ("unpaid", "pro", True, False, False),
        ("paused", "pending", True, False, False),
        ("canceled", "pro", False, False, False),
    ],
)
def test_what_a_status_means_is_told_with_it(
    api: Endpoint, database_url: str, status: str, plan: str, current: bool, active: bool, grants_access: bool
) -> None:
    subscribe(database_url, "u-1", status, plan)
    told = read(api, "u-1").body
    assert (told["status"], told["current"], told["active"], told["grants_access"]) == (
        status, current, active, grants_access,
    )  # fmt: skip
    assert read(api, "u-1", query="?active=true").status == (200 if active else 404)
    assert read(api, "u-1", query="?active=false").status == 200


def test_many_are_read_at_once_by_user_without_those_who_have_none(api: Endpoint, database_url: str) -> None:
    for number, status in enumerate(["active", "past_due", "trialing", "canceled"]):
        subscribe(database_url, f"u-{number}", status)
    asked = "&".join(f"user_id=u-{number}" for number in range(200))
    everybodys = ask(api, f"/subscriptions?{asked}", ADMIN.token).body["subscriptions"]
    assert [each["user_id"] for each in everybodys] == ["u-0", "u-1", "u-2", "u-3"]
    active = ask(api, f"/subscriptions?{asked}&active=true", ADMIN.token).body["subscriptions"]
    assert [each["user_id"] for each in active] == ["u-0", "u-2"]
    twice = ask(api, "/subscriptions?user_id=u-1&user_id=u-1", token_of("u-1")).body["subscriptions"]
    assert [each["user_id"] for each in twice] == ["u-1"]


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("?user_id=u&limit=1", [("/query/limit", "not_of_users")]),
        ("?user_id=u&cursor=&plan=a", [("/query/cursor", "not_of_users")]),
        ("?status=active&status=actve&status=", [(f"/query/status/{number}", "unknown") for number in (1, 2)]),
        ("?plan=", [("/query/plan", "not_a_plan")]),
        ("?plan=" + "x" * 256, [("/query/plan", "not_a_plan")]),
        ("?plan=%00", [("/query/plan", "not_a_plan")]),
        *[
            (f"?limit={wrong}", [("/query/limit", "out_of_range")])
            for wrong in ("", "0", "201", "-1", "ten", "1.0", "%D9%A1")
        ],
        *[
            (f"?cursor={wrong}", [("/query/cursor", "not_a_cursor")])
            for wrong in (
                "", "sub_1", "_", "%00", "%FF", "%C3%A4", "x" * 3000,
                cursor("subscriptions:1") + "=", cursor("owned:1"),
                *(cursor(f"subscriptions:{number}") for number in ("", "-1", "01", "1 ", 2**63)),
            )
        ],
        ("?limit=0&cursor=x", [("/query/cursor", "not_a_cursor"), ("/query/limit", "out_of_range")]),
        ("?" + "&".join(["user_id=u"] * 201), [("/query/user_id", "too_many")]),
        ("?user_id=u&user_id=&user_id=u", [("/query/user_id/1", "not_an_id")]),
        ("?user_id=%00&user_id=" + "x" * 256, [(f"/query/user_id/{number}", "not_an_id") for number in (0, 1)]),
        ("?user_id=u&active=1", [("/query/active", "not_a_boolean")]),
        ("?user_id=u&active=true&active=true", [("/query/active", "repeated")]),
        ("?user_id=u&a/b=1&c~d=2", [("/query/a~1b", "unknown"), ("/query/c~0d", "unknown")]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_question_is_told_by_json_pointers(
    api: Endpoint, query: str, errors: list[tuple[str, str]]
) -> None:
    reply = ask(api, f"/subscriptions{query}", ADMIN.token)
    assert (reply.status, reply.body["code"]) == (400, "parameters_wrong")
    assert [(each["pointer"], each["code"]) for each in reply.body["errors"]] == errors


def test_an_id_may_hold_anything_that_a_profiles_may(api: Endpoint, database_url: str) -> None:
    for user_id in ("a/b", "ä ö?&=#%", "..", "x" * 255, "user@example.org"):
        subscribe(database_url, user_id)
        assert read(api, user_id).body["user_id"] == user_id
    assert read(api, "x" * 256, ADMIN.token).status == 400
    assert read(api, "a\0b", ADMIN.token).body["errors"][0]["pointer"] == "/path/user_id"
    assert ask(api, "/subscriptions/", ADMIN.token).status == 400


def test_of_an_unsettled_or_deleted_customer_there_is_none(api: Endpoint, database_url: str) -> None:
    subscribe(database_url, "u-1")
    with psycopg.connect(database_url) as tx:
        tx.execute("INSERT INTO provisionings (user_id, plan, trial_end, lane) VALUES ('new', 'pending', now(), 0)")
        tx.execute("UPDATE billing_customers SET deleted_at = now()")
    for user_id in ("u-1", "new", "nobody"):
        reply = read(api, user_id)
        assert (reply.status, reply.body["code"]) == (404, "no_subscription")


def test_what_has_not_changed_is_not_sent_again(api: Endpoint, database_url: str) -> None:
    subscribe(database_url, "u-1")
    etag = read(api, "u-1").headers["ETag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        again = read(api, "u-1", If_None_Match=known)
        assert (again.status, again.body, again.headers["ETag"]) == (304, None, etag)
    with psycopg.connect(database_url) as tx:
        tx.execute("UPDATE billing_subscriptions SET version = 4")
    changed = read(api, "u-1", If_None_Match=etag)
    assert (changed.status, changed.body["version"]) == (200, 4)
    assert changed.headers["ETag"] != etag


def test_head_is_get_without_the_body_and_other_methods_are_refused(api: Endpoint, database_url: str) -> None:
    subscribe(database_url, "u-1")
    head = ask(api, "/subscriptions/u-1", ADMIN.token, "HEAD")
    assert (head.status, head.body) == (200, None)
    assert head.headers["ETag"]
    for method in ("POST", "PUT", "OPTIONS"):
        reply = ask(api, "/subscriptions/u-1", ADMIN.token, method)
        assert (reply.status, set(reply.headers["Allow"].split(", "))) == (405, {"GET", "HEAD", "PATCH", "DELETE"})
        assert reply.body["title"] == "Method Not Allowed"
    assert ask(api, "/nowhere", ADMIN.token).body == {"type": "about:blank", "title": "Not Found", "status": 404}


def test_a_request_has_an_id_its_callers_or_ours_and_access_is_logged_without_tokens(
    new_api: NewApi, database_url: str
) -> None:
    subscribe(database_url, "u-1")
    token = token_of("u-1")
    with capture_logs() as lines:
        api = new_api()
        assert read(api, "u-1", token, X_Request_Id="trace-7.a").headers["X-Request-Id"] == "trace-7.a"
        made = [read(api, "u-2", token, X_Request_Id=bad).headers["X-Request-Id"] for bad in ("a b", "x" * 65, "")]
        ask(api, "/nowhere", ADMIN.token)
        ask(api, "/subscriptions/u-1", signed(claims(exp=1)))
        ask(api, "/subscriptions/u-1", ADMIN.token)
    assert len({*made}) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in made)
    answered = [line for line in lines if line["event"] == "request.answered"]
    assert [(line["status"], line["caller"], line["reason"]) for line in answered] == [
        (200, "user u-1", None),
        *[(403, "user u-1", "not_yours")] * 3,
        (404, None, None),
        (401, None, "expired"),
        (200, f"admin {ADMIN.digest[7:15]}", None),
    ]
    assert answered[0]["request_id"] == "trace-7.a"
    for secret in (token, ADMIN.token, token.rpartition(".")[2]):
        assert secret not in f"{lines}"


def test_the_document_describes_what_is_answered(api: Endpoint, database_url: str) -> None:
    document = ask(api, "/openapi.json").body
    assert (document["openapi"], list(document["paths"])) == (
        "3.1.1",
        [
            "/subscriptions/{user_id}", "/subscriptions", "/projects/{project_id}/subscriptions",
            "/account-changes/{change_id}", "/billing/payment-methods",
            "/billing/payment-methods/order", "/billing/customers/{user_id}",
            "/billing/owners", "/billing/owners/users/{user_id}", "/billing/owners/projects/{project_id}",
            "/billing/payment-methods/{payment_method_id}",
            "/billing/subscriptions",
            "/billing/payment-methods/setup",
            "/billing/subscriptions/manage",
            "/billing/checkouts/{checkout_id}",
            "/customers/{user_id}/erase", "/customers/{user_id}/erasure", "/stats", "/openapi.json",
        ],
    )  # fmt: skip
    scopes = {each["id"] for each in document["components"]["securitySchemes"]["bearer"]["x-scopes"]}
    assert scopes == {"subscriptions:admin", "subscriptions:read"}
    subscribe(database_url, "u-1", "past_due")
    one = document["paths"]["/subscriptions/{user_id}"]["get"]["responses"]
    for reply in (read(api, "u-1"), read(api, "u-2"), read(api, "u-2", token_of("u-1")), read(api, "u-1", "forged")):
        told = one[str(reply.status)]["content"][reply.headers["Content-Type"]]["schema"]
        jsonschema.validate(reply.body, {**told, "components": document["components"]}, jsonschema.Draft202012Validator)


def test_keys_are_rotated_while_it_runs(
    new_api: NewApi, provider: IdentityProvider, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.accounts.keys.REFETCH_SECONDS", 0.2)
    api = new_api()
    subscribe(database_url, "u-1")
    new = signed(claims("u-1"), ec_key(1), kid="new")
    assert read(api, "u-1", new).status == 401
    provider.document = jwks(jwk(ec_key()), jwk(ec_key(1), "new"))
    wait_until(lambda: read(api, "u-1", new).status == 200)
    assert read(api, "u-1").status == 200
    provider.status = 500
    assert read(api, "u-1", signed(claims("u-1"), ec_key(2), kid="newer")).status == 401
    assert read(api, "u-1", new).status == 200, "what was had stays in force"


def test_while_keys_cannot_be_had_admins_are_served_and_readiness_says_why(
    new_api: NewApi, provider: IdentityProvider, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.accounts.keys.REFETCH_SECONDS", 2.0)
    subscribe(database_url, "u-1")
    provider.status = 500
    api = new_api(is_ready=False)
    wait_until(lambda: api.part("api")[0])
    assert (read(api, "u-1").status, read(api, "u-1", ADMIN.token).status) == (503, 200)
    assert api.part("api_keys")[1] == f"jwks is unavailable: {provider.url}: HTTP 500"
    assert (api.is_ready(), api.is_healthy()) == (False, True)
    provider.status = 200
    wait_until(api.is_ready, 20)
    assert read(api, "u-1").status == 200


def test_a_shared_secret_is_rotated_in_its_file_while_it_runs(new_api: NewApi, tmp_path: Path) -> None:
    file = tmp_path / "jwt_secret"
    file.write_text(SECRET)
    api = new_api(SUBKEEPER_API__JWKS_URL="", SUBKEEPER_API__JWT_SECRET_FILE=str(file))
    old, new = (signed(claims("u-1"), secret, "HS256") for secret in (SECRET, SECRET[::-1]))
    assert [read(api, "u-1", token).status for token in (old, new)] == [404, 401]
    file.write_text(SECRET[::-1])
    wait_until(lambda: read(api, "u-1", new).status == 404)
    assert read(api, "u-1", old).status == 401
    file.write_text("short")
    wait_until(lambda: not api.is_healthy(), what="a person is asked for")
    assert read(api, "u-1", new).status == 404, "the one of before stays in force"


def test_without_callers_there_is_no_api_which_is_said_once(new_endpoint: NewEndpoint) -> None:
    with capture_logs() as lines:
        endpoint = new_endpoint()
        assert [ask(endpoint, path, ADMIN.token).status for path in ("/subscriptions/u-1", "/openapi.json")] == [
            404,
            404,
        ]
    assert [line["event"] for line in lines].count("api.disabled") == 1
    assert endpoint.part("api") == (True, "disabled: no callers are configured in [api]")


def test_while_postgres_is_away_the_api_says_so_and_the_webhook_goes_on(
    new_api: NewApi, new_postgres: Callable[[], PostgresServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runtime.api.CHECK_SECONDS", 0.2)
    server = new_postgres()
    url = server.create_database("subkeeper")
    database = Database(DatabaseSettings(url=SecretStr(url)))
    with database.connection() as connection:
        upgrade(connection)
    database.close()
    api = new_api(SUBKEEPER_DATABASE__URL=url)
    server.stop()
    reply = read(api, "u-1")
    assert (reply.status, reply.body["code"], reply.headers["Retry-After"]) == (503, "unavailable", "1")
    assert read(api, "u-1", "forged").status == 401
    assert ask(api, "/openapi.json").status == 200
    assert api.post(body_of())[0] == 200
    wait_until(lambda: not api.is_ready())
    assert "postgres is unavailable" in api.part("api")[1]
    assert (api.part("webhook")[0], api.is_healthy()) == (True, True)
    server.start()
    wait_until(lambda: read(api, "u-1").status == 404)
    wait_until(api.is_ready)


def test_a_slow_postgres_holds_up_nothing_else(new_api: NewApi, database_url: str) -> None:
    subscribe(database_url, "u-1")
    api = new_api()
    with psycopg.connect(database_url) as tx, ThreadPoolExecutor(20) as threads:
        tx.execute("LOCK TABLE billing_subscriptions")
        waiting = [threads.submit(read, api, "u-1") for _ in range(20)]
        for number in range(20):
            assert api.post(body_of(number))[0] == 200
        assert ask(api, "/nowhere").status == 404
        assert not any(each.done() for each in waiting)
        tx.rollback()
        assert {each.result().status for each in waiting} == {200}


def test_an_id_may_hold_what_a_path_hardly_does(api: Endpoint, database_url: str) -> None:
    for user_id in ("a/b", "line\n", "\n"):
        subscribe(database_url, user_id)
        assert read(api, user_id).body["user_id"] == user_id


@pytest.mark.timeout(300)
def test_of_ten_thousand_requests_on_many_connections_each_is_answered_as_if_it_were_alone(
    api: Endpoint, database_url: str
) -> None:
    for user in ("u-1", "u-2"):
        subscribe(database_url, user)
    own, admin = token_of("u-1"), ADMIN.token
    paths = [("u-1", own), ("u-2", own), ("nobody", admin), ("u-2", admin), ("u-1", "forged")]
    requests = [_request(f"/subscriptions/{user}", token) for user, token in paths]
    found = Load(requests * 2_000, once=True).measured("127.0.0.1", api.web_port, 32, 240.0)
    assert found["statuses"] == {"200": 4_000, "403": 2_000, "404": 2_000, "401": 2_000}


def _request(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
