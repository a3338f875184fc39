"""What cannot be used is refused with the key as it was written, and a fix; never with a secret's value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from worker.settings.loading import InvalidSettings
from worker.settings.model import Settings

WriteConfig = Callable[[str], Path]


def _refused(path: Path | None, environ: Mapping[str, str]) -> InvalidSettings:
    with pytest.raises(InvalidSettings) as caught:
        Settings.load(path, environ)
    return caught.value


@pytest.mark.parametrize(
    ("toml", "key", "said"),
    [
        ('[nsq]\nchanel = "x"', "nsq.chanel", "Did you mean channel?"),
        ("[nqs]\nchannel = 1", "nqs", "Did you mean nsq?"),
        ("[health]\nzzz = 1", "health.zzz", "known here: host, port"),
        ("[plans.pending]\nprice = 1", "plans.pending.price", "is not a setting"),
        ('[plans."Not a slug"]', "plans.Not a slug", "does not match"),
        ("[health]\nport = 70000", "health.port", "is more than 65535"),
        ("[settle]\nlease = inf", "settle.lease", "finite"),
        ('[log]\nlevel = "loud"', "log.level", "is not 'debug', 'info'"),
        ("[stripe]\nlivemode = 3", "stripe.livemode", "is neither true nor false"),
        ('[nsq]\nnsqd_tcp_addresses = "a:1"', "nsq.nsqd_tcp_addresses", 'is not a list, such as ["a", "b"]'),
        ("[plans.pending]\nunit_amount = 1.5", "plans.pending.unit_amount", "is not a whole number"),
        ("[nsq]\nchannel = 1", "nsq.channel", "is not a text"),
        ("nsq = 3", "nsq", "is not a table of settings"),
        ('[nsq]\nchannel = "c#ephemeral"', "nsq.channel", "without #ephemeral"),
        ('[nsq]\nprofile_topic = "t#ephemeral"', "nsq.profile_topic", "ephemeral"),
        ('[nsq]\nbackfill_topic = "a b"', "nsq.backfill_topic", "not a name that nsqd accepts"),
        ('[nsq]\nbackfill_topic = "profile_created"', "nsq", "one topic for both lanes"),
        ('[nsq]\nchanges_topic = "profile_created"', "nsq", "would read what it publishes"),
        ("[nsq]\nnsqd_tcp_addresses = []", "nsq", "names no broker"),
        ('[nsq]\nnsqd_tcp_addresses = ["a"]', "nsq.nsqd_tcp_addresses", "Write host:port"),
        ('[nsq]\nnsqd_tcp_addresses = ["a:0"]', "nsq.nsqd_tcp_addresses", "Write host:port"),
        ('[nsq]\nnsqd_tcp_addresses = ["::1:4150"]', "nsq.nsqd_tcp_addresses", "Write host:port"),
        ('[nsq]\nnsqd_tcp_addresses = ["[1:2]:4150"]', "nsq.nsqd_tcp_addresses", "IPv6"),
        ('[nsq]\nlookupd_http_addresses = ["https://a:1"]', "nsq.lookupd_http_addresses", "https"),
        ('[message]\nid = "id"', "message.id", "JSON pointer"),
        ('[message]\nemail = ""', "message.email", "JSON pointer"),
        ('[message]\nemail = "/a~2"', "message.email", "JSON pointer"),
        ('[stripe]\napi_base = "http://example.com"', "stripe.api_base", "Use https"),
        ('[stripe]\napi_base = "http://127.0.0.1.example.com"', "stripe.api_base", "Use https"),
        ('[stripe]\napi_base = "ftp://localhost"', "stripe.api_base", "not an http(s) URL"),
        ('[stripe]\napi_base = "http://localhost:99999"', "stripe.api_base", "not an http(s) URL"),
        ('[stripe]\napi_base = "https://api.stripe.com/v1"', "stripe.api_base", "more than scheme"),
        ('[stripe]\ntest_clock = "clock"', "stripe.test_clock", "not the id of a Stripe test clock"),
        ('[stripe]\nlivemode = true\ntest_clock = "clock_1"', "stripe", "Leave stripe.test_clock out"),
        ('[database]\nurl = "mysql://localhost/x"', "database.url", "not a Postgres URL"),
        ('[database]\nurl = "postgresql://u:pw@h/x"', "database.url", "SUBKEEPER_DATABASE__URL"),
        ('[database]\nurl = "postgresql:///x?password=pw"', "database.url", "SUBKEEPER_DATABASE__URL"),
        ('[database]\nurl = "postgresql://h/x?sslpassword=pw"', "database.url", "SUBKEEPER_DATABASE__URL"),
        ('[database]\nurl = "postgresql://h/x?a=b&password= "', "database.url", "SUBKEEPER_DATABASE__URL"),
        ('[database]\nurl = "postgresql://h/x?password="', "database.url", "SUBKEEPER_DATABASE__URL"),
        ('[database]\nurl = "postgresql://u:my pass@h/x"', "database.url", "SUBKEEPER_DATABASE__URL"),
        ('[database]\nurl = "postgresql://my u:pw@h/x"', "database.url", "SUBKEEPER_DATABASE__URL"),
        ('[database]\nurl = "postgresql://u:1/2?#@h/x"', "database.url", "SUBKEEPER_DATABASE__URL"),
        ('[database]\nurl = "postgresql:\\t//u:pw@h/x"', "database.url", "not a Postgres URL"),
        ('[database]\nurl = "postgresql://u@h/x\\t"', "database.url", "not a Postgres URL"),
        ('[database]\nurl = " postgresql://u@h/x"', "database.url", "not a Postgres URL"),
        ('[database]\nurl = "postgresql:/u@h/x"', "database.url", "not a Postgres URL"),
        ('[database]\nurl = "postgresql:///u@h/x"', "database.url", "holds an @ after its host"),
        ("[stripe]\nsecretkey = 1", "stripe.secretkey", "Did you mean secret_key_file?"),
        ('secret_key_file = "a\\u0000b"', "secret_key_file", "no file has such a name"),
        ('[stripe]\napi_base = " https://api.stripe.com"', "stripe.api_base", "not an http(s) URL"),
        ("[nsq]\nconnect_timeout = 1e300", "nsq.connect_timeout", "is more than 86400"),
        ('secret_key = "x"', "secret_key", "Set SUBKEEPER_SECRET_KEY"),
        ('[stripe]\nsecret_key = "sk_test_x"', "stripe.secret_key", "Set STRIPE_SECRET_KEY"),
        ('[nsq]\nauth_secret = "x"', "nsq.auth_secret", "nsq.auth_secret_file"),
        ("[settle]\nlease = 14", "settle.lease", "Make it 15 or more"),
        ("[stripe]\nrequest_timeout = 40", "settle.lease", "shorten stripe.request_timeout"),
        ("[nsq]\nheartbeat_interval = 15", "nsq.heartbeat_interval", "Make it more than 15"),
        ("[database]\nstatement_timeout = 25", "nsq.heartbeat_interval", "shorten database.statement_timeout"),
        ("[trial]\nmax_lag_hours = 744.1", "trial.max_lag_hours", "Make it 744 or less"),
        ("[trial]\ndays = 2", "trial.max_lag_hours", "longer than the trial"),
        ('pending_plan = "gold"', "pending_plan", "[plans.gold]"),
        ("[plans.basic]", "pending_plan", "[plans.pending]"),
        ('[plans.pending]\n[plans.b]\nlookup_key = "pending"', "plans", "lookup_key twice"),
        ('namespace = ""', "namespace", "does not match"),
        ("[plans.pending]\ntrial_days = 14", "plans.pending.trial_days", "set trial.days"),
        ("[plans.pending]\n[plans.b]\ntrial_days = 0", "plans.b.trial_days", "is less than 1"),
        ("[plans.pending]\n[plans.b]\ntrial_days = 731", "plans.b.trial_days", "is more than 730"),
        ("[plans.pending]\nadmin_only = false", "plans.pending.admin_only", "would let users go back"),
        ('[plans.pending]\n[plans.b]\ncurrency = "eur"', "plans.b.currency", "Give it a price in usd"),
        ('[api]\nadmin_tokens = ["subkeeper_admin_x"]', "api.admin_tokens", "`subkeeper token new` prints"),
        ('[api]\njwks_url = "https://a/k"', "api", "Give api.jwt_issuer and api.jwt_audience"),
        ('[api]\njwks_url = "https://a/k"\njwt_issuer = "a"', "api", "Give api.jwt_issuer and api.jwt_audience"),
        ('[api]\njwt_issuer = "a"\njwt_audience = "b"', "api", "nothing to verify tokens by"),
        ('[api]\njwks_url = "http://a/k"', "api.jwks_url", "Use https"),
        ('[api]\njwks_url = "a"', "api.jwks_url", "not an http(s) URL"),
        ('[api]\nreturn_origins = ["https://a.example/"]', "api.return_origins", "is not an origin"),
        ('[api]\nreturn_origins = ["https://A.example"]', "api.return_origins", "is not an origin"),
        ('[api]\nreturn_origins = ["a.example"]', "api.return_origins", "is not an origin"),
        ('[api]\nreturn_origins = ["https://u@a.example"]', "api.return_origins", "has a user"),
        ('[api]\nreturn_origins = ["http://a.example"]', "api.return_origins", "back over plain http"),
        ('[api]\njwks_url = "https://u:pw@a/k"', "api.jwks_url", "has a user, a password or a fragment"),
        ('[api]\njwks_url = "https://a/k"\njwt_secret_file = "b"', "api", "has keys from two places"),
        ('[api]\njwt_secret = "x"', "api.jwt_secret", "Set SUBKEEPER_API__JWT_SECRET"),
    ],
)
def test_a_bad_key_of_the_file_is_refused(write_config: WriteConfig, toml: str, key: str, said: str) -> None:
    error = _refused(write_config(toml), {})
    assert error.key == key
    assert said in str(error)


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("SUBKEEPER_NSQ__CHANEL", "x", "Did you mean SUBKEEPER_NSQ__CHANNEL?"),
        ("SUBKEEPER_NSQ_CHANNEL", "x", "Did you mean SUBKEEPER_NSQ__CHANNEL?"),
        ("SUBKEEPER_PORT", "80", "is not a setting"),
        ("SUBKEEPER_SECRETKEY", "k" * 32, "Did you mean SUBKEEPER_SECRET_KEY"),
        ("SUBKEEPER_HEALTH__PORT", "http", "is not a whole number"),
        ("SUBKEEPER_NSQ__CHANNEL", "c#ephemeral", "ephemeral"),
        ("SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES", '["a:1"', "JSON list"),
        ("SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES", "a", "Write host:port"),
        ("SUBKEEPER_STRIPE__SHARE", "nan", "finite"),
        ("SUBKEEPER_SETTLE__LEASE", "14", "too short"),
        ("SUBKEEPER_CONFIG", "/nowhere/at/all.toml", "cannot read /nowhere"),
        ("STRIPE_SECRET_KEY", "pk_test_1", "not a secret key of Stripe"),
        ("STRIPE_SECRET_KEY_FILE", "/nowhere/key", "cannot read /nowhere/key"),
        ("SUBKEEPER_SECRET_KEY", "short", "too short"),
        ("SUBKEEPER_SECRET_KEY", "k" * 32 + ",short", "too short"),
        ("SUBKEEPER_SECRET_KEY", ",", "empty"),
        ("SUBKEEPER_SECRET_KEY", "k" * 32 + "\n" + "l" * 32, "Separate keys by commas"),
        ("SUBKEEPER_STRIPE_SECRET_KEY", "sk_test_x", "Did you mean SUBKEEPER_STRIPE__SECRET_KEY?"),
        ("SUBKEEPER_CONFG", "x", "Did you mean SUBKEEPER_CONFIG?"),
        ("SUBKEEPER_DATABASE__URL", "postgresql://me:1/2@h/x", "holds an @ after its host"),
        ("STRIPE_SECRET_KEY", "sk_test_\u043a", "not a secret key of Stripe"),
        ("SUBKEEPER_SECRET_KEY_FILE", "/nowhere/key", "cannot read /nowhere/key"),
        ("SUBKEEPER_NSQ__AUTH_SECRET_FILE", "/nowhere/key", "cannot read /nowhere/key"),
        ("STRIPE_WEBHOOK_SECRETS", "whsec_12345678901234567890", "Write name=whsec_"),
        ("STRIPE_WEBHOOK_SECRETS", "a=sk_test_12345678901234567890", "Write name=whsec_"),
        ("STRIPE_WEBHOOK_SECRETS", ",", "Write name=whsec_"),
        ("STRIPE_WEBHOOK_SECRETS", "a=whsec_1234567890123456,b", "entry 2 of it is not"),
        ("STRIPE_WEBHOOK_SECRETS", "a=whsec_1234567890123456,a=whsec_6543210987654321", "entry 2 of it has a name"),
        ("STRIPE_WEBHOOK_SECRETS_FILE", "/dev/null", "/dev/null is empty"),
        ("STRIPE_WEBHOOK_SECRETS_FILE", "/", "cannot read /: Is a directory"),
        ("STRIPE_WEBHOOK_SECRETS_FILE", "nowhere/secrets", "names no file that is there"),
    ],
)
def test_a_bad_variable_is_refused_under_its_own_name(variable: str, text: str, said: str) -> None:
    error = _refused(None, {variable: text})
    assert error.key == variable
    assert said in str(error)


def test_a_live_key_is_refused_beside_livemode_false() -> None:
    error = _refused(None, {"STRIPE_SECRET_KEY": "sk_live_abc"})
    assert error.key == "STRIPE_SECRET_KEY"
    assert "set stripe.livemode = true" in error.fix


def test_a_test_key_is_refused_beside_livemode_true() -> None:
    error = _refused(None, {"STRIPE_SECRET_KEY": "rk_test_abc", "SUBKEEPER_STRIPE__LIVEMODE": "true"})
    assert "set SUBKEEPER_STRIPE__LIVEMODE = false" in error.fix


def test_a_file_that_names_an_empty_secret_is_refused(write_config: WriteConfig) -> None:
    config = write_config('[stripe]\nsecret_key_file = "empty"')
    config.with_name("empty").write_text("\n")
    error = _refused(config, {})
    assert (error.key, error.problem) == ("stripe.secret_key_file", f"{config.with_name('empty')} is empty")


def test_a_file_that_is_no_toml_is_refused_with_the_place(write_config: WriteConfig) -> None:
    assert "line 1" in str(_refused(write_config("namespace = x"), {}))


def test_all_problems_are_told_at_once(write_config: WriteConfig) -> None:
    config = write_config('namespace = "a b"\nzzz = 1\n[health]\nport = -1\n[stripe]\nsecret_key = "sk_test_x"')
    error = _refused(config, {"SUBKEEPER_NSQ__CHANNEL": "#", "SUBKEEPER_NOPE": "1"})
    keys = {problem.key for problem in error.problems}
    assert keys == {"namespace", "zzz", "health.port", "stripe.secret_key", "SUBKEEPER_NSQ__CHANNEL", "SUBKEEPER_NOPE"}
    assert len(str(error).splitlines()) == len(keys)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("STRIPE_SECRET_KEY", "sk_live_PLANTED"),
        ("STRIPE_SECRET_KEY", "PLANTED"),
        ("SUBKEEPER_SECRET_KEY", "PLANTED"),
        ("SUBKEEPER_DATABASE__URL", "mysql://u:PLANTED@h/x"),
        ("SUBKEEPER_DATABASE__URL", "postgresql://u:PLANTED@h:port/x"),
        ("SUBKEEPER_STRIPE__API_BASE", "http://u:PLANTED@h/x"),
        ("SUBKEEPER_HEALTH__PORT", "PLANTED"),
        ("STRIPE_SECRET_KEY_FILE", "sk_live_PLANTED"),
        ("SUBKEEPER_SECRET_KEY_FILE", "PLANTED/PLANTED"),
        ("SUBKEEPER_API__JWT_SECRET", "PLANTED"),
        ("SUBKEEPER_API__ADMIN_TOKENS", "PLANTED"),
        ("STRIPE_WEBHOOK_SECRETS", "PLANTED"),
        ("STRIPE_WEBHOOK_SECRETS", "a=whsec_PLANTED1234567890,PLANTED=whsec_PLANTED1234567890"),
    ],
)
def test_no_error_repeats_a_value(variable: str, text: str) -> None:
    error = _refused(None, {variable: text})
    assert "PLANTED" not in f"{error} {error!r} {error.__cause__!r} {error.problems!r}"
    assert error.__suppress_context__ or error.__context__ is None


def test_a_shared_secret_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    named = {"SUBKEEPER_API__JWT_ISSUER": "a", "SUBKEEPER_API__JWT_AUDIENCE": "b"}
    error = _refused(None, {**named, "SUBKEEPER_API__JWT_SECRET": "PLANTED"})
    assert (error.key, error.problem) == ("SUBKEEPER_API__JWT_SECRET", "is too short")
    (tmp_path / "secret").write_text("PLANTED")
    error = _refused(None, {**named, "SUBKEEPER_API__JWT_SECRET_FILE": str(tmp_path / "secret")})
    assert "PLANTED" not in str(error)
