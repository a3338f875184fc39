"""The pages that Stripe hosts, as plain HTML forms: Checkout, the customer portal, and a bank that asks its customer.

They work without JavaScript and by keyboard. Their addresses are the secret that lets somebody in, as at Stripe.
"""
