"""A switch that makes our engine answer wrongly; Python loads this file by itself from a folder on PYTHONPATH.

``POST /fault`` with ``{"mode": "nulls"}`` sets the fault of every later ``/embed``, probes included; ``none`` ends it.
``refuse`` takes ``seconds`` as well, for which the engine does not listen. ``GET /fault`` returns the number of faults
by mode.
"""

import sys

if {"engine", "tei"} & set(sys.orig_argv):
    import asyncio

    import orjson

    from embedfleet.http.exchange import Exchange
    from embedfleet.http.message import JSON
    from embedfleet.http.server import Server

    honest = Server.handle
    order: dict = {"mode": "none"}
    done: dict[str, int] = {}

    def handle(server: Server, exchange: Exchange) -> None:
        if exchange.path == "/fault":
            if exchange.method == b"POST":
                order.update(orjson.loads(exchange.body))
                if order["mode"] == "refuse":
                    asyncio.get_running_loop().call_soon(refuse, server)
            exchange.respond(200, [JSON], orjson.dumps(done))
        elif exchange.path == "/embed" and order["mode"] not in {"none", "refuse"}:
            done[order["mode"]] = done.get(order["mode"], 0) + 1
            fail(exchange, order["mode"])
        else:
            honest(server, exchange)

    def fail(exchange: Exchange, mode: str) -> None:
        inputs = orjson.loads(exchange.body)["inputs"]
        vectors = [[0.5] * 8] * (len(inputs) if isinstance(inputs, list) else 1)
        whole = orjson.dumps(vectors)
        match mode:
            case "nulls":
                exchange.respond(200, [JSON], orjson.dumps([*vectors[:-1], [None] * 8]))
            case "one too few":
                exchange.respond(200, [JSON], orjson.dumps(vectors[:-1]))
            case "one too many":
                exchange.respond(200, [JSON], orjson.dumps([*vectors, vectors[0]]))
            case "no json":
                exchange.respond(200, [JSON], b"<html>502 Bad Gateway</html>")
            case "cut json":
                exchange.respond(200, [JSON], whole[:-3])
            case "cut body":
                exchange.start(200, [JSON], len(whole) + 10)
                exchange.write(whole)
                asyncio.get_running_loop().call_soon(exchange.abort)
            case "no http":
                exchange._connection.write(b"this is not HTTP\r\n\r\n")
            case "reset":
                exchange.abort()
            case _:
                body = orjson.dumps({"error": "Backend error: told to fail", "error_type": "Backend"})
                exchange.respond(int(mode), [JSON], body)

    def refuse(server: Server) -> None:
        host, port = server._listener.sockets[0].getsockname()[:2]
        server._listener.close()  # the client has the answer to its order by now
        for client in list(server.clients):
            client.abort()
        done["refuse"] = done.get("refuse", 0) + 1
        server._timer.cancel()
        loop = asyncio.get_running_loop()
        loop.call_later(order["seconds"], lambda: loop.create_task(server.start(host=host, port=port)))

    Server.handle = handle
