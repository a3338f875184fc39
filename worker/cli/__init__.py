"""`subkeeper`: commands, thin. What they do lives in the packages that they import.

Start at `root`: the table of all commands, of which only the one that is asked for is imported. `common` has what all
of them share, `output` and `tables` how they show what they found.
"""

from worker import imported_without

with imported_without("rich"):  # for tracebacks in colour
    import structlog  # noqa: F401

from worker.cli.root import main

__all__ = ["main"]
