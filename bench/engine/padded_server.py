"""``python -m bench.engine.padded_server FOLDER PORT``: a plain ONNX Runtime session behind our HTTP server.

It stands for servers that run the ordinary padded graph, such as TEI's ONNX backend on a CPU: a batch has at most 8
texts, in the order of their arrival, and is padded to its longest text. The session has the runtime's defaults and one
thread. Tokens are pooled by their mean. It answers ``POST /embed`` of texts, and nothing else.
"""

import asyncio
import json
import queue
import sys
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import orjson
import uvloop
from tokenizers import Encoding, Tokenizer

from bench.engine.padded_graph import INPUTS, OUTPUT, BertShape, padded_graph
from embedfleet.engine.files.safetensors_file import read_safetensors_file
from embedfleet.http.exchange import Exchange
from embedfleet.http.message import JSON
from embedfleet.http.server import Server

_BATCH = 8


class _Request:
    """A request, with the vectors that are computed so far."""

    def __init__(self, exchange: Exchange, count: int) -> None:
        self.exchange = exchange
        self.vectors: list[np.ndarray] = [np.empty(0)] * count
        self.left = count

    def answer(self) -> None:
        """Send the vectors, normalised."""
        rows = np.array(self.vectors)
        rows /= np.sqrt((rows * rows).sum(axis=1, keepdims=True))
        self.exchange.respond(200, [JSON], orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY))


_Item = tuple[_Request, int, Encoding]


class PaddedModel:
    """A BERT in a session on the padded graph.

    Args:
        folder: Folder of the model.
    """

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        shape = BertShape(config["num_hidden_layers"], config["num_attention_heads"], config["layer_norm_eps"])
        found = read_safetensors_file(folder / "model.safetensors")
        tensors = {name: tensor.read() for name, tensor in found.items() if tensor.dtype == "F32"}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        graph = padded_graph(tensors, shape).SerializeToString()
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        limits = json.loads((folder / "sentence_bert_config.json").read_text())
        self._tokenizer.enable_truncation(limits["max_seq_length"])

    def encode(self, texts: list[str]) -> list[Encoding]:
        """Tokenize texts."""
        encoded: list[Encoding] = self._tokenizer.encode_batch_fast(texts)
        return encoded

    def vectors(self, batch: list[Encoding]) -> list[np.ndarray]:
        """Vectors of a batch, not normalised."""
        longest = max(len(item) for item in batch)
        feeds = {name: np.zeros((len(batch), longest), np.int64) for name in INPUTS}
        for row, item in enumerate(batch):
            for name, values in zip(INPUTS, (item.ids, item.attention_mask, item.type_ids), strict=True):
                feeds[name][row, : len(item)] = values
        (states,) = self._session.run([OUTPUT], feeds)
        return [rows[: len(item)].mean(axis=0) for rows, item in zip(states, batch, strict=True)]


class PaddedApp:
    """Answers requests, and computes in a thread.

    Args:
        model: Model that computes.
    """

    def __init__(self, model: PaddedModel) -> None:
        self._model = model
        self._waiting: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._compute, daemon=True).start()

    def handle(self, exchange: Exchange) -> None:
        """Tokenize a request's texts, and let them wait; answer any other request with 200."""
        if exchange.method != b"POST":
            exchange.respond(200, [], b"")
            return
        texts = orjson.loads(exchange.body)["inputs"]
        request = _Request(exchange, len(texts))
        for number, item in enumerate(self._model.encode(texts)):
            self._waiting.put((request, number, item))

    def _compute(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while len(batch) < _BATCH and not self._waiting.empty():
                batch.append(self._waiting.get())
            for (request, number, _), vector in zip(
                batch, self._model.vectors([item for *_, item in batch]), strict=True
            ):
                request.vectors[number] = vector
                request.left -= 1
                if not request.left:
                    self._loop.call_soon_threadsafe(request.answer)


async def _serve(folder: Path, port: int) -> None:
    server = Server(PaddedApp(PaddedModel(folder)).handle)
    await server.start(port=port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
