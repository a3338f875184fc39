"""`subkeeper`, and `python -m worker`.

Little is imported here, so that a Ctrl-C is heard quietly from the start: the imports take a good part of a second.
"""

from __future__ import annotations

import gc
import sys


def main() -> None:
    gc.disable()  # until the command is imported: looking for garbage takes a tenth of the start, and finds none
    try:
        from worker.cli import main as subkeeper  # noqa: PLC0415 - while importing, too, a Ctrl-C is heard

        subkeeper(prog_name="subkeeper")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
