"""Rules on the sizes of files and functions, on return types and on the share of tests."""

from collections.abc import Iterable, Iterator

from scripts.house.source import Source, body_lines

MAX_FILE_LINES = 400
MAX_BODY_LINES = 60
MIN_TEST_RATIO = 0.9


def long_files(sources: Iterable[Source]) -> Iterator[str]:
    """Yield a fault for each file that is too long."""
    for source in sources:
        if source.lines > MAX_FILE_LINES:
            yield f"{source.path}: {source.lines} lines, at most {MAX_FILE_LINES}"


def long_functions(sources: Iterable[Source]) -> Iterator[str]:
    """Yield a fault for each function whose body is too long."""
    for source in sources:
        for function in source.functions():
            lines = body_lines(function)
            if lines > MAX_BODY_LINES:
                place = f"{source.path}:{function.lineno}"
                yield f"{place}: the body of {function.name} has {lines} lines, at most {MAX_BODY_LINES}"


def untyped_returns(sources: Iterable[Source]) -> Iterator[str]:
    """Yield a fault for each function without a return type."""
    for source in sources:
        for function in source.functions():
            if function.returns is None:
                yield f"{source.path}:{function.lineno}: {function.name} has no return type"


def ratio_of_tests(tests: Iterable[Source], sources: Iterable[Source]) -> float:
    """Return the lines of the tests divided by the lines of the sources; all lines count."""
    return sum(test.lines for test in tests) / sum(source.lines for source in sources)


def few_tests(ratio: float) -> Iterator[str]:
    """Yield a fault when there are too few lines of tests."""
    if ratio < MIN_TEST_RATIO:
        yield f"tests: {ratio:.3f} lines for each line of src, at least {MIN_TEST_RATIO}"
