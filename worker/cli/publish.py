"""`subkeeper publish`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import BinaryIO

import click

from worker.cli.common import explained, loaded_for_people, seeded
from worker.cli.output import shown
from worker.runtime.operations import message_shape, open_publisher

PUBLISH_SECONDS = 5.0
"""For nsqd's OK, while somebody waits."""


@click.command()
@click.option("--id", "user_id", metavar="USER", help="The user's id.")
@click.option("--email", help="The email address (seen by anyone who may list processes: see --json).")
@click.option("--name", help="The name (likewise).")
@click.option("--created-at", metavar="TIME", help='RFC 3339; now if left out, "" for none.')
@click.option("--json", "message", type=click.File("rb"), metavar="FILE|-", help="The whole message; - for stdin.")
@click.option("--topic", type=click.Choice(["profile", "backfill"]), default="profile", show_default=True)
@click.pass_context
def publish(
    context: click.Context,
    user_id: str | None,
    email: str | None,
    name: str | None,
    created_at: str | None,
    message: BinaryIO | None,
    topic: str,
) -> None:
    """Publish one profile, in the message shape that is configured, once it is seen to be valid.

    What stands on a command line can be read by every user of the machine (ps), and stays in the shell's history. Give
    personal data on stdin instead: subkeeper publish --json - < message.json

    Exit codes: 0 nsqd has it; 1 it is not valid, or nsqd is away; 2 the settings or the command line must be changed.
    """
    parts = (user_id, email, name, created_at)
    if (message is None) == (user_id is None) or (message is not None and any(part is not None for part in parts)):
        raise click.UsageError("Give either --id (with --email, --name, --created-at) or --json.")
    with explained():
        settings = loaded_for_people(context)
        shape = message_shape(settings)
        if message is not None:
            body = message.read(settings.nsq.max_message_bytes + 1).strip()
        else:
            created_at = datetime.now(UTC).isoformat() if created_at is None else created_at
            body = shape.encode(user_id=user_id or "", email=email, name=name, created_at=created_at)
        profile = shape.decode(body)
        where = settings.nsq.profile_topic if topic == "profile" else settings.nsq.backfill_topic
        with open_publisher(settings, seeded()) as publisher:
            publisher.publish(where, [body], PUBLISH_SECONDS)
        click.echo(f"published user {shown(profile.user_id)} on topic {where} ({len(body)} bytes)")
