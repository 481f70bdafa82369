"""``python -m bench.gpu.replicas``: tokens per second of one, two and more engines on one device, as lines of JSON.

Engines are added until one more does not pay. All together have the same number of clients in every measurement.
"""

import argparse
import json
from contextlib import ExitStack

from bench.engine.cells import Cell, measure
from bench.engine.texts import Texts
from bench.gpu.servers import our_engine
from bench.gpu.speed import arguments
from embedfleet.engine.model.source import resolve_model

PAYS = 1.05
"""Least gain of one more replica over one fewer that pays for its memory."""
_MOST, _CLIENTS = 4, 24  # 1, 2, 3 and 4 replicas share the clients evenly


def best_count(rates: dict[int, float]) -> int:
    """The number of replicas that pays: the first whose successor gains less than `PAYS`.

    Args:
        rates: Tokens per second by number of replicas, from 1 on.
    """
    count = 1
    while count + 1 in rates and rates[count + 1] >= PAYS * rates[count]:
        count += 1
    return count


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments(parser)
    parser.add_argument("--most", type=int, default=_MOST, help="largest number of replicas to try")
    options = parser.parse_args()
    model = str(resolve_model(options.model))
    texts = Texts(model)
    rates: dict[int, float] = {}
    with ExitStack() as stack:
        servers = []
        for count in range(1, options.most + 1):
            servers.append(stack.enter_context(our_engine(model, options.device, options.precision, options.start_s)))
            cell = Cell(_CLIENTS // count, 32)
            measure([servers[-1]], Cell(1, 32), texts, min(1.0, options.seconds))
            rates[count] = measure(servers, cell, texts, options.seconds).tokens_per_s
            row = {"replicas": count, "tokens_per_s": rates[count], "best": best_count(rates)}
            print(json.dumps(row), flush=True)
            if best_count(rates) < count:
                return


if __name__ == "__main__":
    main()
