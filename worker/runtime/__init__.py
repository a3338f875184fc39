"""Builds everything from `Settings`, starts it, drains it: the one composition root, which tests use too.

process       one process from start to exit; start here
services      what a process can be told to do: the table of its jobs, and the shape that they have
resources     what a process has once, whatever it does
disabled      what is left of a job that asks Stripe where there is no key
upkeep        what a process does once, whatever it is told to do
provisioning  the main job's parts, put together: a service, which starts, stops and closes
accounts      changes that users and admins ask for, beside the API; changing is the same for a command
web           the web process's parts, put together; webhook_secrets are those of STRIPE_WEBHOOK_SECRETS
watch         gauges, and what has expired
ownership     whose the database is
outside       the ways out of a process, and its clocks: what a test gives in their place
budget        this process's part of Stripe's rate
clocks        which time it is
signals       what asks a process to end
operations    what the commands for people work with
checking      what can be told of settings before anything is connected to
setup         what must exist before a process starts
doctor        would a worker do its work here?
"""
