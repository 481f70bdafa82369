"""Kept-alive client connections."""

import asyncio

import orjson

LIMIT_S = 20
BODY = orjson.dumps({"inputs": "a"})
ASKS = b"POST /embed HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)


class Client:
    """A client with one connection.

    Attributes:
        body: Body of the last answer.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.body = b""

    @classmethod
    async def connect(cls, port: int) -> "Client":
        """Open a connection."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def answer(self) -> tuple[int, bytes]:
        """Read the next answer, and return its status and head."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), LIMIT_S)).lower()
        length = next(int(line.split()[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        self.body = await self.reader.readexactly(length)
        return int(head.split()[1]), head

    async def ask(self, request: bytes = ASKS) -> int:
        """Send a request, and return the status of the answer."""
        self.writer.write(request)
        return (await self.answer())[0]

    async def close(self) -> None:
        """Close the connection, whatever the server has done."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return
