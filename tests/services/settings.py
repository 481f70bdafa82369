"""Settings for property tests: any sound value of any option."""

from dataclasses import fields
from typing import Any, TypeVar

from hypothesis import strategies as st

from embedfleet.config.option import Option, options_of

Record = TypeVar("Record")
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


def value_of(option: Option) -> st.SearchStrategy[Any]:
    """Sound values of an option that one word of a command line can express."""
    if option.choices and len(option.types) == 1:
        return st.sampled_from(option.choices)
    low, high = option.minimum or 0, option.maximum or 10**6
    if option.types[0] is bool:
        return st.booleans()
    if option.types[0] is int:
        return st.integers(int(low), int(high)) | (st.sampled_from(option.choices) if option.choices else st.nothing())
    if option.types[0] is float:
        return st.floats(low, high)
    return words | (st.just("") if option.may_be_empty else st.nothing())


def records(record: type[Record]) -> st.SearchStrategy[Record]:
    """A settings record with some options changed."""
    known = options_of(record)
    values = {item.name: st.just(item.default) | value_of(known[item.name]) for item in fields(record)}  # type: ignore[arg-type]
    return st.builds(record, **values)
