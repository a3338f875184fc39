"""`subkeeper`: commands, thin. What they do lives in the packages they import, and only when they run.

root          the group itself, what holds for all commands alike
common        settings, logging, errors and exit codes of all commands
running       run, setup
checking      config, db
doctor        doctor
publish       publish
backfill      backfill, with `backfill_view`: its progress and its end, for people
quarantine    quarantine list, show, retry, drop, with `choosing`: which of them it is about
unopenable    quarantine unopenable
provisioning  provisioning list, show
output        tables, plain lines and JSON, with `tables`: how they fit a terminal
"""

from __future__ import annotations

from worker.cli.backfill import backfill
from worker.cli.checking import config, db
from worker.cli.doctor import doctor
from worker.cli.provisioning import provisioning
from worker.cli.publish import publish
from worker.cli.quarantine import quarantine
from worker.cli.root import main, pass_exit_codes_on, take_config
from worker.cli.running import prepare, run, setup
from worker.cli.unopenable import unopenable
from worker.sandbox.commands import build_group
from worker.sandbox.demo.commands import demo_command

__all__ = ["main"]

quarantine.add_command(unopenable)
for _command in (run, setup, config, db, doctor, publish, backfill, quarantine, provisioning):
    take_config(_command)
    main.add_command(_command)
main.add_command(build_group(prepare))
main.add_command(demo_command(prepare))
pass_exit_codes_on(main)
