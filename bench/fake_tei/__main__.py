"""The command ``python -m bench.fake_tei``."""

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
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.fake_tei", description="fake replicas that wait instead of computing"
    )
    parser.add_argument("--replicas", type=int, default=1, help="number of replicas, each on its own port")
    parser.add_argument("--ports", default="", help="ports of the replicas, separated by commas; free ports by default")
    parser.add_argument("--admin-port", type=int, default=0, help="port for faults and the log; a free port by default")
    parser.add_argument("--kind", choices=KINDS, default="embedding", help="kind of model in /info")
    parser.add_argument("--model", default="/models/fake", help="model name in /info")
    parser.add_argument(
        "--served-model-name", default="", help="name in /info and in OpenAI's call; --model by default"
    )
    parser.add_argument("--revision", help="model revision in /info")
    parser.add_argument(
        "--folder", type=Path, help="folder of a model that computes the answers; by default they follow from the texts"
    )
    parser.add_argument("--pooling", default="auto", help="pooling of that model, instead of its folder's")
    parser.add_argument("--api-key", default="", help="key needed for everything but health, metrics and pages")
    told = "whether texts that are too long are truncated, for calls that do not say"
    parser.add_argument("--auto-truncate", choices=("true", "false"), default="true", help=told)
    parser.add_argument("--default-prompt-name", default="", help="name of the prompt for calls that name none")
    parser.add_argument(
        "--a-ms", type=float, default=MEASURED.a_s * 1000, help="fixed time of each batch, in milliseconds"
    )
    parser.add_argument(
        "--tokens-per-s",
        type=float,
        default=1 / MEASURED.b_s,
        help="tokens per second of a batch, without its fixed time",
    )
    parser.add_argument(
        "--batch-tokens", type=int, default=MEASURED.batch_tokens, help="maximum number of tokens in a batch"
    )
    parser.add_argument("--padded", action="store_true", help="each text of a batch costs as much as its longest")
    parser.add_argument("--permits", type=int, default=512, help="maximum number of texts accepted at once")
    parser.add_argument(
        "--client-batch", "--max-client-batch-size", type=int, default=32, help="maximum texts in a call"
    )
    parser.add_argument(
        "--payload-bytes", "--payload-limit", type=int, default=2_000_000, help="size of the largest body"
    )
    parser.add_argument("--no-ahead", action="store_true", help="form no batch while another runs")
    parser.add_argument(
        "--vocabulary", type=int, default=FakeModel().vocabulary, help="ids from this number on decode to nothing"
    )
    parser.add_argument(
        "--no-special-tokens",
        action="store_true",
        help="the tokenizer adds no special tokens, so blanks have no tokens",
    )
    parser.add_argument(
        "--poison", metavar="MARKER", default="", help="a text that contains this ends the replica that computes it"
    )
    back = "seconds without a listener after such a text or one without tokens; by default the process ends"
    parser.add_argument("--back-s", type=float, help=back)
    options = parser.parse_args()
    if not 0 < options.vocabulary <= LARGEST:
        parser.error(f"--vocabulary is from 1 to {LARGEST}, not {options.vocabulary}")
    return options


def settings(options: argparse.Namespace) -> ReplicaSettings:
    """The settings of every replica."""
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
    """Serve until SIGTERM or SIGINT."""
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
        gc.disable()  # A pause for garbage collection would delay batches.
        await stop.wait()
        for replica in replicas:
            replica.close()
        await admin.server.stop(0)


def computed(options: argparse.Namespace, stack: ExitStack) -> Computing:
    """The model of a folder, closed with the stack."""
    from bench.fake_tei.served import Served  # noqa: PLC0415 - an engine, which other replicas do not need

    return stack.enter_context(closing(Served(options.folder, settings(options), options.pooling)))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        uvloop.run(serve(arguments()))
