"""``python -m bench.fake_tei``: see the package."""

import argparse
import asyncio
import gc
import json
import signal
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import uvloop

from bench.fake_tei.admin import Admin
from bench.fake_tei.calls import KINDS, Computing
from bench.fake_tei.cost import MEASURED
from bench.fake_tei.model import LARGEST, FakeModel
from bench.fake_tei.replica import Replica
from bench.fake_tei.settings import ReplicaSettings
from embedfleet.simulation.batch_cost import BatchCost


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.fake_tei", description="replicas that wait, not compute")
    parser.add_argument("--replicas", type=int, default=1, help="how many, each on a port of its own")
    parser.add_argument("--ports", default="", help="theirs, with commas between; free ones by default")
    parser.add_argument("--admin-port", type=int, default=0, help="for faults and the log; any free one by default")
    parser.add_argument("--kind", choices=KINDS, default="embedding", help="what /info says the model is")
    parser.add_argument("--model", default="/models/fake", help="its name in /info")
    parser.add_argument(
        "--served-model-name", default="", help="as /info and OpenAI's call tell it; --model by default"
    )
    parser.add_argument("--revision", help="its revision in /info")
    parser.add_argument("--folder", type=Path, help="of a model that computes the answers; out of the texts by default")
    parser.add_argument("--pooling", default="auto", help="of that model, in the place of what its folder says")
    parser.add_argument("--api-key", default="", help="without which nothing but health, metrics and pages is told")
    told = "whether a text that is too long is cut where the call does not say"
    parser.add_argument("--auto-truncate", choices=("true", "false"), default="true", help=told)
    parser.add_argument("--default-prompt-name", default="", help="of the prompt where a call names none")
    parser.add_argument("--a-ms", type=float, default=MEASURED.a_s * 1000, help="milliseconds of each batch")
    parser.add_argument("--tokens-per-s", type=float, default=1 / MEASURED.b_s, help="beside that")
    parser.add_argument("--batch-tokens", type=int, default=MEASURED.batch_tokens, help="of one batch at most")
    parser.add_argument("--padded", action="store_true", help="each text of a batch costs as much as its longest")
    parser.add_argument("--permits", type=int, default=512, help="texts let in at once")
    parser.add_argument(
        "--client-batch", "--max-client-batch-size", type=int, default=32, help="texts of one call at most"
    )
    parser.add_argument("--payload-bytes", "--payload-limit", type=int, default=2_000_000, help="largest body")
    parser.add_argument("--no-ahead", action="store_true", help="form no batch while another runs")
    parser.add_argument("--vocabulary", type=int, default=FakeModel().vocabulary, help="ids from this on are no text")
    parser.add_argument(
        "--no-special-tokens", action="store_true", help="the tokenizer adds none: blanks are no tokens"
    )
    parser.add_argument("--poison", metavar="MARKER", default="", help="a text with this ends whoever computes it")
    back = "seconds that nobody listens after such a text, or one of no tokens; the process ends by default"
    parser.add_argument("--back-s", type=float, help=back)
    options = parser.parse_args()
    if not 0 < options.vocabulary <= LARGEST:
        parser.error(f"--vocabulary is from 1 to {LARGEST}, not {options.vocabulary}")
    return options


def settings(options: argparse.Namespace) -> ReplicaSettings:
    """Of every replica."""
    return ReplicaSettings(
        kind=options.kind,
        model=options.model,
        served_name=options.served_model_name,
        revision=options.revision,
        cost=BatchCost(options.a_ms / 1000, 1 / options.tokens_per_s, options.batch_tokens, options.padded),
        permits=options.permits,
        client_batch=options.client_batch,
        payload_bytes=options.payload_bytes,
        auto_truncate=options.auto_truncate == "true",
        prompt_name=options.default_prompt_name,
        api_key=options.api_key,
        ahead=not options.no_ahead,
        fake=FakeModel(options.vocabulary, not options.no_special_tokens, options.poison),
        back_s=options.back_s,
    )


async def serve(options: argparse.Namespace) -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ports = [int(port) for port in options.ports.split(",") if port] or [0] * options.replicas
    with ExitStack() as stack:
        computing = computed(options, stack) if options.folder else None
        replicas = [Replica(str(number), settings(options), computing) for number in range(len(ports))]
        for replica, port in zip(replicas, ports, strict=True):
            await replica.listen(port)
        admin = Admin(replicas)
        await admin.server.start(port=options.admin_port)
        print(json.dumps({"ports": [replica.port for replica in replicas], "admin": admin.server.port}), flush=True)
        gc.freeze()
        gc.disable()  # a pause for garbage is a batch that ends too late
        await stop.wait()
        for replica in replicas:
            replica.close()
        await admin.server.stop(0)


def computed(options: argparse.Namespace, stack: ExitStack) -> Computing:
    """The model of a folder; it ends with the stack."""
    from bench.fake_tei.served import Served  # noqa: PLC0415 - an engine, which the others have no need of

    return stack.enter_context(closing(Served(options.folder, settings(options), options.pooling)))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        uvloop.run(serve(arguments()))
