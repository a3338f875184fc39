"""Benchmarks of the main job, on real parts: `make bench`. docs/benchmarks.md says how to read them.

stand      the parts that all benchmarks of a run share, and a fresh deployment on them for each
site       one deployment: a broker, a database, a Stripe account, and workers on them
bench      what a benchmark is, and the JSON object it comes to
messages   profiles as the auth service publishes them
meter      processor time of the parts
absorbing  the rate at which the worker's own loop absorbs, and the ceilings beside it
ceilings   what absorbing could reach at best
settling   the rate at which worker processes settle
bare_chain the least that a profile costs, as one plain script
deliveries signed webhooks, as fast as they are answered: a program of its own
bare_http  the least that one costs
many_subscriptions  a Stripe that lists as many as wanted: a program of its own
"""
