"""HTTP/1.1 on asyncio protocols and httptools: the server both planes answer with, and a client for rare calls."""
