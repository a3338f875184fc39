"""The configuration that points Subkeeper at a sandbox, its secrets in files of their own."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

_TEMPLATE = """\
# Points Subkeeper at this sandbox; config.example.toml explains every key.
secret_key_file = {secret_key_file}

[database]
url = {database_url}

[nsq]
nsqd_tcp_addresses = [{nsqd_tcp}]
lookupd_http_addresses = [{nsqlookupd_http}]

[stripe]
api_base = {stripe_api_base}
secret_key_file = {stripe_secret_key_file}
webhook_secrets_file = {webhook_secrets_file}
requests_per_second = 1000 # this Stripe limits nothing unless it is told to
endpoint_requests_per_second = 1000
request_timeout = 5

[settle]
lease = 10 # a killed worker's profiles are taken up soon

[web]
port = {web_port} # where this Stripe delivers its events; of several processes with a webhook, one can have it

[health]
port = 0 # a free one, so that several processes can run side by side
"""

_API = """
[plans.pending]

[plans.pro]
unit_amount = 900 # in cents, a month

[api]
admin_tokens = [{admin_digest}]
return_origins = [{origin}] # where Stripe's pages lead back to
"""


def write_config(
    directory: Path,
    *,
    database_url: str,
    nsqd_tcp: str,
    nsqlookupd_http: str,
    stripe_api_base: str,
    stripe_key: str,
    web_port: int,
    webhook_secret: str,
    admin_digest: str | None = None,
) -> Path:
    """Writes `config.toml` and three files of secrets (readable by their owner alone) to `directory`; returns its path.

    `SUBKEEPER_SECRET_KEY` is drawn anew: it seals nothing that outlives the sandbox. `admin_digest`: of the token of an
    admin who may change subscriptions by the API, to a plan `pro`, too; None: there is no API, and Pending alone.
    """
    values: dict[str, str | int | None] = {
        "secret_key_file": _write_secret(directory / "secret-key", secrets.token_urlsafe(48)),
        "stripe_secret_key_file": _write_secret(directory / "stripe-secret-key", stripe_key),
        "webhook_secrets_file": _write_secret(directory / "stripe-webhook-secrets", f"sandbox={webhook_secret}"),
        "web_port": web_port,
        "admin_digest": admin_digest,
        "origin": f"http://127.0.0.1:{web_port}",
        "database_url": database_url,
        "nsqd_tcp": nsqd_tcp,
        "nsqlookupd_http": nsqlookupd_http,
        "stripe_api_base": stripe_api_base,
    }
    config = directory / "config.toml"
    template = _TEMPLATE if admin_digest is None else _TEMPLATE + _API
    config.write_text(template.format_map({name: json.dumps(value) for name, value in values.items()}))
    return config


def _write_secret(path: Path, secret: str) -> str:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(f"{secret}\n")
    return str(path)
