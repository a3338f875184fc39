"""The least that a delivery costs: uvicorn as it comes reads it and answers 200. `python -m bench.bare_http PORT`."""

from __future__ import annotations

import sys
from typing import Any

from uvicorn.config import Config
from uvicorn.server import Server

_START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
_BODY = {"type": "http.response.body", "body": b"{}"}


async def app(_scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    await send(_BODY)


def main() -> None:
    Server(
        Config(
            app,
            port=int(sys.argv[1]),
            http="httptools",
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
    ).run()


if __name__ == "__main__":
    main()
