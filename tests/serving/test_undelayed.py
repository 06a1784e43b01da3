"""Answers leave at once: on the real listener, each connection has Nagle's algorithm off."""

from __future__ import annotations

import asyncio
import socket

from uvicorn import Config
from uvicorn.server import ServerState

from opsin.serving.protocol import DeadlineProtocol
from opsin.serving.run import listen


def test_connections_do_not_wait_for_acknowledgements() -> None:
    made: list[DeadlineProtocol] = []

    def protocol() -> DeadlineProtocol:
        config = Config(app=_no_app)
        config.load()
        made.append(DeadlineProtocol(config=config, server_state=ServerState(), app_state={}))
        return made[-1]

    async def connect(listener: socket.socket) -> int:
        server = await asyncio.get_running_loop().create_server(protocol, sock=listener)
        address = listener.getsockname()
        _, writer = await asyncio.open_connection(*address[:2])
        while not made or made[-1].transport is None:
            await asyncio.sleep(0.01)
        accepted = made[-1].transport.get_extra_info("socket")
        undelayed = int(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()
        made[-1].transport.abort()
        server.close()
        return undelayed

    assert asyncio.run(connect(listen("127.0.0.1", 0))) == 1


async def _no_app(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nobody asks anything")
