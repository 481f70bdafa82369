"""The bodies whose delay is measured are what their names say, and within the gateway's default limits of size."""

import orjson
import pytest

from bench.bodies import BODIES, SIZES, TEXTS, VALUES


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("size", SIZES)
def test_a_body_is_json_of_at_most_the_size_that_is_named(name, size):
    count, _ = SIZES[size]
    body = BODIES[name](count)
    read = orjson.loads(body)
    assert len(body) <= {"2 MB": 2_000_000, "32 MB": 32_000_000}[size]
    assert len(body) > 1_000_000
    if name.startswith("texts"):
        assert len(read["inputs"]) == TEXTS
        assert name != "texts without a visible character" or not any(text.strip() for text in read["inputs"])
    elif name == "token ids":
        assert 100_000 < sum(map(len, read["inputs"])) <= VALUES
    elif name.startswith("numbers"):
        assert (read["inputs"], len(read["other"]) <= VALUES) == ("a", True)
    else:
        assert len(read["inputs"]) > 131_072 * 4
