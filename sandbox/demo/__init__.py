"""The main job, watched: a sandbox, workers, profiles published as the auth service would, and a count at the end.

show       runs it from start to verdict
traffic    the profiles, and what chaos does to their messages
worker     a `subkeeper run profiles` process
verdict    what Stripe and our tables hold in the end, held against what was published
"""
