"""Try Subkeeper without an account: nsqd, nsqlookupd, Postgres and a stateful Stripe, started and gone with you."""
