"""A stateful stand-in for Stripe's API: a real HTTP server that any unmodified Stripe client talks to.

It models what Subkeeper uses and what billing does to that (account, customers, products, prices, subscriptions, cards,
invoices, payments, Checkout, the customer portal, events, test clocks), refuses what it does not model instead of
ignoring it, and misbehaves on demand (`faults.py`). It imports nothing of the worker.
"""
