"""Stripe: `gateway` (facts in, facts out), then `requestor` (limits, retries), then `http_client`; each knows only what
is below it. `errors` lists what may be raised, `catalogue` finds our plans' prices.
"""
