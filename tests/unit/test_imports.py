"""What a worker loads before it begins: each package costs every start."""

from __future__ import annotations

import subprocess
import sys

from bench.process import IMPORTED

PARTS = {"_cffi_backend", "annotated_types", "six", "typing_extensions", "typing_inspection"}
"""What those need."""

BESIDE = {"greenlet"}
"""What SQLAlchemy loads where it is installed: `make test-browser` brings it."""

LISTS_THEM = """
import sys
from importlib.metadata import packages_distributions
before = set(sys.modules)
import worker.__main__
import worker.cli.run
installed = packages_distributions().keys() - {"worker", "schema", "sandbox"}
print(*sorted({name.partition(".")[0] for name in sys.modules.keys() - before} & installed))
"""


def test_run_loads_these_third_party_packages_and_no_others() -> None:
    listed = subprocess.run([sys.executable, "-c", LISTS_THEM], capture_output=True, text=True, check=True).stdout
    assert set(listed.split()) - BESIDE == {*IMPORTED, *PARTS}
