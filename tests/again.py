"""`make test-again`: which of the tests that failed fail by themselves too?

A test that passes alone was unsteady: it waits for a machine that has nothing else to do, or for another test. It is
named, for that is a defect of its own, and doesn't fail the run. More than a few of them are no coincidence.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

FEW = 5
FAILED = Path(".pytest_cache/v/cache/lastfailed")


def main() -> int:
    """The exit code: 0 where all that failed passes now."""
    failed = sorted(json.loads(FAILED.read_text())) if FAILED.is_file() else []
    if not failed:
        print("no test is known to have failed: what did is printed above")
        return 1
    if len(failed) > FEW:
        print(f"{len(failed)} tests failed, which is no coincidence: none is run again")
        return 1
    print("run again, one at a time:", *failed, sep="\n  ")
    code = pytest.main(["--last-failed", "--last-failed-no-failures=none"])
    if code == pytest.ExitCode.OK:
        print("unsteady, and to be mended (they failed beside others, and pass alone):", *failed, sep="\n  ")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
