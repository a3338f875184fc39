"""The secrets: are they there, and who else may read their files?"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from worker.errors import Misconfigured
from worker.runtime.doctor.findings import Finding, Findings, ok, problem, refused, warning
from worker.settings.loading import SECRETS
from worker.settings.model import Settings

CHECK = "secrets"


def check_secrets(settings: Settings) -> Findings:
    """Present, usable, and nobody else's to read. Their values are never told."""
    troubles = [*_sealing(settings), *_stripe(settings), *_modes(settings)]
    yield from troubles
    if not troubles:
        files = [path.name for path in _files(settings)]
        yield ok(CHECK, f"all that is needed is there ({', '.join(files) if files else 'from the environment'})")


def _sealing(settings: Settings) -> Findings:
    try:
        settings.secret_keys()
    except Misconfigured as missing:
        yield refused(CHECK, missing, "")


def _stripe(settings: Settings) -> Findings:
    if settings.stripe_secret_key() is None:
        fix = "Set STRIPE_SECRET_KEY or STRIPE_SECRET_KEY_FILE, if billing is wanted"
        yield warning(CHECK, "STRIPE_SECRET_KEY is not set: billing is disabled, no message is consumed", fix)


def _modes(settings: Settings) -> Findings:
    for path in _files(settings):
        try:
            mode = path.stat().st_mode
        except OSError as error:
            yield problem(CHECK, f"cannot look at {path}: {error.strerror}", "Name a file that this process may read")
            continue
        if found := _others_may(mode):
            yield _open_file(path, mode, found)


def _others_may(mode: int) -> str | None:
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "be written by others"
    return "be read by every user of this machine" if mode & stat.S_IROTH else None


def _open_file(path: Path, mode: int, may: str) -> Finding:
    return warning(CHECK, f"{path} may {may} (mode {stat.S_IMODE(mode):04o})", f"chmod 600 {path}")


def _files(settings: Settings) -> Iterator[Path]:
    """The files that secrets are read from; one that the environment overrules is not."""
    yield from (each.file for path in SECRETS if (each := settings.secret(path)).file and each.value is None)
    tls = settings.nsq.tls
    if tls.enabled and tls.key_file is not None:
        yield tls.key_file
