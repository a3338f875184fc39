"""What Stripe says becomes our state. Start at `envelope` (what travels on NSQ), then `inbox` (what a batch means)."""
