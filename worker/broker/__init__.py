"""NSQ: reading topics (`reader`, then `connections`, `subscription`, `connection`), and publishing (`publisher`).

`consumer` is the loop that absorbs: read, commit, finish. `lookup` finds nsqds; `admin` looks after
channels.
"""
