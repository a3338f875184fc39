"""Stripe: `gateway` (facts in, facts out), then `requestor` (limits, retries), then `http_client`; each knows only what
is below it. `errors` lists what may be raised, `catalogue` finds our plans' prices.
"""

from worker import imported_without

with imported_without("aiohttp", "anyio", "httpx", "requests"):  # for HTTP clients of its own: ours is `http_client`
    import stripe  # noqa: F401
