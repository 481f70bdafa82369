"""HTTP/1.1 on asyncio protocols: the server both planes answer with, and a client for rare calls."""
