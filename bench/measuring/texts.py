"""Real English texts of mixed length: paragraphs of Python's language reference, which every machine has."""

import random
from pydoc_data.topics import topics


def paragraphs(count: int, seed: int = 7) -> list[str]:
    """Different paragraphs of 10 to 1,200 characters, the same for the same Python."""
    found = dict.fromkeys(
        " ".join(paragraph.split())
        for topic in sorted(topics)
        for paragraph in topics[topic].split("\n\n")
        if 10 <= len(paragraph) <= 1200
    )
    return random.Random(seed).sample([*found], count)
