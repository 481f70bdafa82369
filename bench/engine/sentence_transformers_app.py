"""``python sentence_transformers_app.py FOLDER PORT``: a usual FastAPI app around sentence-transformers.

The contestant's own Python runs it, which has sentence-transformers, fastapi and uvicorn; it imports nothing of ours.
``embed`` is not a coroutine, so FastAPI runs it in a thread, and requests may overlap; torch computes with as many
threads as OMP_NUM_THREADS says. ``encode`` sorts the texts of a request by length and takes 32 at a time, by default.
"""

import sys

import uvicorn
from fastapi import FastAPI, Response
from sentence_transformers import SentenceTransformer

app = FastAPI()
model = SentenceTransformer(sys.argv[1], device="cpu")


@app.post("/embed")
def embed(body: dict[str, list[str]]) -> list[list[float]]:
    """Normalized vectors of texts."""
    vectors: list[list[float]] = model.encode(body["inputs"], normalize_embeddings=True).tolist()
    return vectors


@app.get("/health")
def health() -> Response:
    """Answer that the app serves."""
    return Response()


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
