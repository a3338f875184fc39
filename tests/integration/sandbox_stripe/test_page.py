"""docs/sandbox.md says what the code has, and its example works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

from sandbox.stripe import admin
from sandbox.stripe.events.mishaps import Kind
from sandbox.stripe.objects import API_VERSION
from sandbox.stripe.routes import ROUTES
from sandbox.stripe.server import StripeServer
from sandbox.stripe.versions import NEWEST

PAGE = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text()


def test_the_example_takes_its_event(server: StripeServer) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-c", example.replace("http://127.0.0.1:12111", server.url)],
        env={**os.environ, "STRIPE_SECRET_KEY": server.secret_key},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "customer.created ada@example.com\n"), ran.stderr


def test_every_path_and_every_control_is_named_and_so_are_the_versions() -> None:
    paths = {"/".join(path.split("/")[:3]) for _, path in ROUTES}
    assert paths <= set(re.findall(r"/v1/[a-z_]+", PAGE))
    controls = set(re.findall(r"[a-z]+", PAGE.partition("## Control")[2]))
    assert {action for _, action in admin._ACTIONS} <= controls
    assert set(get_args(Kind)) <= controls
    assert {API_VERSION, NEWEST} <= set(re.findall(r"2026-[0-9-]+(?:\.[a-z]+)?", PAGE))
