"""Holds requests back so that Stripe doesn't have to. Start at `limiter`."""
