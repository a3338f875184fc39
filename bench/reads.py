"""Users' subscriptions, read over the API as fast as they are answered: a program of its own (`bench.load`).

    python -m bench.reads HOST PORT TOKEN PREFIX USERS AT_ONCE CONNECTIONS SECONDS

Of users PREFIX00000000 and on, AT_ONCE to a request, in turn. One line of JSON.
"""

from __future__ import annotations

import json
import sys

from bench.load import Load


def request(host: str, token: str, users: list[str]) -> bytes:
    """For one by its path, for more by a query."""
    path = (
        f"/subscriptions/{users[0]}" if len(users) == 1 else f"/subscriptions?{'&'.join(f'user_id={u}' for u in users)}"
    )
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def main() -> None:
    host, port, token, prefix, users, at_once, connections, seconds = sys.argv[1:]
    names, step = [f"{prefix}{number:08}" for number in range(int(users))], int(at_once)
    requests = [request(host, token, names[first : first + step]) for first in range(0, len(names), step)]
    print(json.dumps(Load(requests, once=False).measured(host, int(port), int(connections), float(seconds))))


if __name__ == "__main__":
    main()
