"""Checkout: sessions in which a customer sets up a card or subscribes, on a page (`sandbox/stripe/pages`)."""
