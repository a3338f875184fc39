"""Where settings come from, and which source wins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.errors import Misconfigured
from worker.settings.model import Settings

WriteConfig = Callable[[str], Path]
LONG_KEY = "k" * 32


def test_a_plan_has_its_own_trial_or_that_of_all(write_config: WriteConfig) -> None:
    settings = Settings.load(write_config("[trial]\ndays = 10\n[plans.pending]\n[plans.b]\ntrial_days = 14"), {})
    assert [settings.trial_lengths.of(plan).days for plan in ("pending", "b", "gone")] == [10, 14, 10]


def test_without_a_file_or_a_variable_the_defaults_hold() -> None:
    assert Settings.load(None, {}) == Settings()


def test_a_file_is_read_from_its_path(write_config: WriteConfig) -> None:
    assert Settings.load(write_config('[nsq]\nchannel = "mine"'), {}).nsq.channel == "mine"


def test_a_file_may_begin_with_a_byte_order_mark(write_config: WriteConfig) -> None:
    assert Settings.load(write_config('\ufeffnamespace = "mine"'), {}).namespace == "mine"


def test_a_file_is_found_by_its_variable_and_the_command_line_wins_over_it(write_config: WriteConfig) -> None:
    config = write_config('namespace = "a"')
    environ = {"SUBKEEPER_CONFIG": str(config)}
    assert Settings.load(None, environ).namespace == "a"
    other = config.with_name("other.toml")
    other.write_text('namespace = "b"')
    assert Settings.load(other, environ).namespace == "b"


def test_the_environment_wins_over_the_file(write_config: WriteConfig) -> None:
    config = write_config("[health]\nport = 1000\n[nsq.tls]\nenabled = false")
    settings = Settings.load(config, {"SUBKEEPER_HEALTH__PORT": "0", "SUBKEEPER_NSQ__TLS__ENABLED": "true"})
    assert (settings.health.port, settings.nsq.tls.enabled) == (0, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:1,b:2", ("a:1", "b:2")),
        (" a:1 , [::1]:2 ,", ("a:1", "[::1]:2")),
        ('["a:1", "b:2"]', ("a:1", "b:2")),
        ("a:1", ("a:1",)),
        ("[::1]:4150,b:4150", ("[::1]:4150", "b:4150")),
    ],
)
def test_a_list_in_a_variable_is_json_or_comma_separated(text: str, expected: tuple[str, ...]) -> None:
    settings = Settings.load(None, {"SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES": text})
    assert settings.nsq.nsqd_tcp_addresses == expected


def test_an_empty_variable_clears_a_list_and_an_optional_key(write_config: WriteConfig) -> None:
    config = write_config('[nsq]\nlookupd_http_addresses = ["a:1"]\n[stripe]\nrequests_per_second = 5')
    environ = {"SUBKEEPER_NSQ__LOOKUPD_HTTP_ADDRESSES": "", "SUBKEEPER_STRIPE__REQUESTS_PER_SECOND": ""}
    settings = Settings.load(config, environ)
    assert (settings.nsq.lookupd_http_addresses, settings.stripe.requests_per_second) == ((), None)


def test_nsqlookupd_takes_the_place_of_the_local_broker() -> None:
    settings = Settings.load(None, {"SUBKEEPER_NSQ__LOOKUPD_HTTP_ADDRESSES": "http://lookup:4161/"})
    assert settings.nsq.lookupd_http_addresses == ("lookup:4161",)
    assert settings.nsq.nsqd_tcp_addresses == ()


def test_a_relative_path_in_the_file_is_relative_to_the_file(write_config: WriteConfig) -> None:
    config = write_config('secret_key_file = "secret"\n[nsq.tls]\nca_file = "/abs/ca.pem"')
    config.with_name("secret").write_text(LONG_KEY)
    settings = Settings.load(config, {})
    assert settings.secret_key_file == config.with_name("secret")
    assert settings.nsq.tls.ca_file == Path("/abs/ca.pem")


def test_a_plan_is_named_by_its_table_unless_it_says_otherwise(write_config: WriteConfig) -> None:
    config = write_config('[plans.pending]\n[plans.team_pro]\nunit_amount = 900\nlookup_key = "pro"')
    plans = Settings.load(config, {"SUBKEEPER_PLANS__TEAM_PRO__INTERVAL": "year"}).plans
    assert (plans["pending"].name, plans["pending"].lookup_key) == ("Pending", "pending")
    pro = plans["team_pro"]
    assert (pro.name, pro.lookup_key, pro.unit_amount, pro.interval) == ("Team pro", "pro", 900, "year")


@pytest.mark.parametrize(
    "name",
    [
        "SUBKEEPER_SERVICE_HOST",
        "SUBKEEPER_SERVICE_PORT_METRICS",
        "SUBKEEPER_PORT_9464_TCP_ADDR",
        "SUBKEEPER_PORT",
        "SUBKEEPER_WEB_SERVICE_PORT",
        "SUBKEEPER_WEB_PORT_80_TCP",
    ],
)
def test_variables_that_kubernetes_sets_for_a_service_of_that_name_are_not_ours(name: str) -> None:
    assert Settings.load(None, {name: "tcp://10.0.0.1:9464"}) == Settings()


# Secrets


def test_without_a_stripe_key_billing_is_disabled() -> None:
    assert Settings.load(None, {}).stripe_secret_key() is None
    assert Settings.load(None, {"STRIPE_SECRET_KEY": ""}).stripe_secret_key() is None
    assert Settings.load(None, {"STRIPE_SECRET_KEY": " "}).secret(("stripe", "secret_key")).value is None


def test_the_environment_wins_over_the_files_for_secrets(write_config: WriteConfig) -> None:
    config = write_config('secret_key_file = "s"\n[stripe]\nsecret_key_file = "k"')
    config.with_name("s").write_text("f" * 40)
    config.with_name("k").write_text("sk_test_file\n")
    other = config.with_name("other")
    other.write_text("sk_test_other")
    assert Settings.load(config, {}).stripe_secret_key() == "sk_test_file"
    assert Settings.load(config, {"STRIPE_SECRET_KEY_FILE": str(other)}).stripe_secret_key() == "sk_test_other"
    environ = {
        "STRIPE_SECRET_KEY": "sk_test_env",
        "STRIPE_SECRET_KEY_FILE": str(other),
        "SUBKEEPER_SECRET_KEY": LONG_KEY,
    }
    settings = Settings.load(config, environ)
    assert settings.stripe_secret_key() == "sk_test_env"
    assert settings.secret_keys() == [LONG_KEY]


def test_a_stripe_key_in_a_file_can_be_replaced_while_the_process_runs(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk_test_old\n")
    settings = Settings.load(None, {"STRIPE_SECRET_KEY_FILE": str(file)})
    file.write_text("rk_test_new\n")
    assert settings.stripe_secret_key() == "rk_test_new"


def test_several_secret_keys_come_newest_first(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{'n' * 32},\n {'o' * 32}\n")
    assert Settings.load(None, {"SUBKEEPER_SECRET_KEY_FILE": str(file)}).secret_keys() == ["n" * 32, "o" * 32]


def test_what_seals_cannot_go_without_a_secret_key() -> None:
    with pytest.raises(Misconfigured, match="is not set") as caught:
        Settings.load(None, {}).secret_keys()
    assert caught.value.key == "SUBKEEPER_SECRET_KEY"


def test_nsqds_secret_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.write_text("from file\n")
    environ = {"SUBKEEPER_NSQ__AUTH_SECRET_FILE": str(file)}
    assert Settings.load(None, environ).nsq_auth_secret() == "from file"
    assert Settings.load(None, {**environ, "SUBKEEPER_NSQ__AUTH_SECRET": "here"}).nsq_auth_secret() == "here"
    assert Settings.load(None, {}).nsq_auth_secret() is None


def test_every_secret_is_known_to_whoever_masks_them(tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.write_text("nsq-secret")
    environ = {
        "STRIPE_SECRET_KEY": "sk_test_1",
        "SUBKEEPER_SECRET_KEY": f"{'n' * 32},{'o' * 32}",
        "SUBKEEPER_NSQ__AUTH_SECRET_FILE": str(file),
        "SUBKEEPER_DATABASE__URL": "postgresql://me:p%40ss@h/db",
    }
    known = {"sk_test_1", "n" * 32, "o" * 32, "nsq-secret", "p%40ss", "p@ss"}
    assert set(Settings.load(None, environ).secret_values()) == known
    assert Settings().secret_values() == []


def test_importing_the_settings_leaves_out_whatever_starts_slowly() -> None:
    """A process is ready within a second: the settings must not bring a client library or pydantic-settings along."""
    code = "import sys, json, worker.settings.model; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=dict(os.environ))
    modules = set(json.loads(run.stdout))
    assert modules & {"pydantic_settings", "stripe", "sqlalchemy", "nsq", "rich", "structlog", "asyncio"} == set()


@pytest.mark.parametrize("between", [",", "\n", ", \r\n"])
def test_webhook_secrets_have_names_and_stand_in_a_variable_or_a_file(tmp_path: Path, between: str) -> None:
    text = f"old=whsec_1234567890abcdef{between}new-2=whsec_abcdef1234567890{between}"
    file = tmp_path / "secrets"
    file.write_text(text)
    named = {"old": "whsec_1234567890abcdef", "new-2": "whsec_abcdef1234567890"}
    assert Settings.load(None, {"STRIPE_WEBHOOK_SECRETS": text}).webhook_secrets() == named
    settings = Settings.load(None, {"STRIPE_WEBHOOK_SECRETS_FILE": str(file)})
    assert settings.webhook_secrets() == named
    file.write_text("new-2=whsec_abcdef1234567890")
    assert list(settings.webhook_secrets()) == ["new-2"]
    assert Settings().webhook_secrets() == {}


def test_the_pending_plan_and_free_ones_are_for_admins_to_give_unless_they_say_otherwise() -> None:
    amounts = {"PENDING": "900", "PRO": "1000", "GIFT": "0"}
    environ = {f"SUBKEEPER_PLANS__{name}__UNIT_AMOUNT": amount for name, amount in amounts.items()}
    environ |= {"SUBKEEPER_PLANS__FREE__UNIT_AMOUNT": "0", "SUBKEEPER_PLANS__FREE__ADMIN_ONLY": "false"}
    plans = Settings.load(None, environ).plans
    assert {name: plan.admin_only for name, plan in plans.items()} == {
        "pending": True, "pro": False, "gift": True, "free": False,
    }  # fmt: skip


def test_the_api_is_on_once_anybody_may_call_it() -> None:
    issuer = {"SUBKEEPER_API__JWT_ISSUER": "a", "SUBKEEPER_API__JWT_AUDIENCE": "b"}
    secret = "a-shared-secret-of-more-than-32-characters"
    for environ in (
        {"SUBKEEPER_API__ADMIN_TOKENS": f"sha256:{'0' * 64}"},
        {**issuer, "SUBKEEPER_API__JWKS_URL": "http://127.0.0.1:1/keys"},
        {**issuer, "SUBKEEPER_API__JWT_SECRET": secret},
    ):
        assert Settings.load(None, environ).api.is_on
    assert secret in Settings.load(None, environ).secret_values()
    assert not Settings().api.is_on
