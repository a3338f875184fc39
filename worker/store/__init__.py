"""All SQL of a running Subkeeper. `engine` is Postgres itself; the rest is by tables: `provisioning` (the ledger),
`customers`, `subscriptions`, `quarantine`, `deployment`. Functions take the caller's transaction.
"""
