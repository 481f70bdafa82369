"""HTTP/1.1 on asyncio protocols: the server of gateway and engine, and a client for rare requests."""
