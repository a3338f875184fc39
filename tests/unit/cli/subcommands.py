"""The commands of a group, each imported."""

from __future__ import annotations

from collections.abc import Mapping

import click


def subcommands(group: click.Group) -> Mapping[str, click.Command]:
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}
