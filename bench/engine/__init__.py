"""The engine's speed and memory; see `bench.engine.__main__`."""
