"""What can only be read: the account."""

from __future__ import annotations

from sandbox.stripe import objects
from sandbox.stripe.call import Context
from sandbox.stripe.objects import Obj


def account(ctx: Context) -> Obj:
    return objects.account(ctx.account)
