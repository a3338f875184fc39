"""`python -m worker` is `subkeeper`."""

from worker.cli import main

main(prog_name="subkeeper")
