"""Speed and memory of the engine; `bench.engine.__main__` describes the figures."""
