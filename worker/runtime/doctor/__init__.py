"""`subkeeper doctor`: would a worker with these settings do its work here? Reads everywhere, writes nowhere.

findings   what a check found, and checks that are bounded in time
secrets    the secrets, and who else may read their files
postgres   the server, the schema, the role's grants, what survives a crash
nsq        nsqlookupds, nsqds, topics and channels
stripe     the key, what it may read, the plans' prices
together   what takes two of them: whose database it is, the clocks
ports      the health port, and the webhook's; who sees the ops page
examining  all of them, in this order
"""
