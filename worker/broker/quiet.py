"""nsq-py's logger, silenced: it prints message bodies and the auth secret."""

from __future__ import annotations

import logging


def quiet_nsq() -> None:
    """Keep everything that nsq-py logs out of ours.

    Importing `nsq` adds a StreamHandler at INFO to the logger `nsq`; its lines carry bodies and tokens. What matters of
    them is logged by this package, under its own names. Safe to repeat: every new connection does, in case somebody
    configured logging anew.
    """
    logger = logging.getLogger("nsq")
    for handler in list(logger.handlers):
        if not isinstance(handler, logging.NullHandler):
            logger.removeHandler(handler)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)
