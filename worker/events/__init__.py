"""What Stripe says becomes our state. Start at `envelope` (what travels on NSQ), then `inbox` (what a batch means).
`relay` is its way out: what changes is told to other services."""
