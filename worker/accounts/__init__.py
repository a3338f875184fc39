"""Who calls the API, and what becomes of what they ask for.

`callers` tells whose a bearer token is, by `keys` (a JWKS URL's, which `jwks` asks, or a shared secret) or by the
digests of admin tokens (`tokens`). Changes of subscriptions: `asking` takes them in as rows; `working` is the leased
work, `steps` what it asks of Stripe, `leases` what it commits, `refusals` what Stripe's mean; `waiting` is who waits
for its end. `erasing` erases a user, by `erasure_rows`. `cards`: payment methods in their order, and what is on a
user's bills.
"""
