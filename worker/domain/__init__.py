"""Rules without I/O, in the field's words. `provisioning` has the ledger row and its way, `trial` when a trial ends,
`profile` the auth service's message, `lanes` who waits for whom.
"""
