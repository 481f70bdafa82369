"""An unpickler for the pickles that ``torch.save`` writes, and no others.

A pickle is a program for a machine with a stack and a memo (Python's Lib/pickletools.py describes its operations).
Python's unpickler calls whatever the program names. Restricting the names is not enough: it allocates as many memo
cells as the program claims, and compares any object that the program uses as a key. This unpickler knows only the
operations that tensors need. It creates only lists, tuples, dicts with string keys and numbers, and its memory is
bounded by a small multiple of the program's length.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any

Name = tuple[str, str]
"""A module, and a name in it."""


class PickleError(Exception):
    """The pickle is broken, or does something that tensors do not need."""


class ForeignName(PickleError):
    """The pickle names an object that tensors do not need.

    Args:
        name: Qualified name of the object.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"it names {name}")
        self.name = name


class SafeUnpickler:
    """Unpickler for one pickle.

    Args:
        names: Allowed names → the function or other value that each stands for.
        refer: Function that resolves a persistent id, a reference to something outside of the pickle.
    """

    def __init__(self, names: Mapping[Name, object], refer: Callable[[object], object]) -> None:
        self._names = names
        self._refer = refer
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []  # the stack below each mark
        self._memo: dict[int, object] = {}
        self._plain: dict[str, Callable[[], None]] = {
            "MARK": self._mark,
            "TUPLE": self._tuple,
            "EMPTY_LIST": self._list,
            "EMPTY_DICT": self._dict,
            "SETITEM": self._set_item,
            "SETITEMS": self._set_items,
            "APPEND": self._append,
            "APPENDS": self._append_all,
            "BUILD": self._build,
            "STACK_GLOBAL": self._stack_global,
            "REDUCE": self._reduce,
            "BINPERSID": self._persistent_id,
        }
        self._with_argument: dict[str, Callable[[Any], None]] = {
            "GLOBAL": self._global,
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "BINGET": self._get,
            "LONG_BINGET": self._get,
            "MEMOIZE": self._memoize,
        }

    def run(self, data: bytes) -> object:
        """Load the object of a pickle.

        Raises:
            PickleError: The pickle is broken, or does something that tensors do not need.
        """
        try:
            for operation, argument, _ in pickletools.genops(data):
                self._step(operation.name, argument)
            return self._stack.pop()
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
            raise PickleError(f"its pickle is broken ({type(error).__name__})") from error

    def _step(self, operation: str, argument: Any) -> None:  # noqa: ANN401 - the type depends on the operation
        if operation in _LITERALS:
            self._stack.append(argument)
        elif operation in _CONSTANTS:
            self._stack.append(_CONSTANTS[operation])
        elif operation in _TUPLES:
            self._take_tuple(_TUPLES[operation])
        elif operation in self._with_argument:
            self._with_argument[operation](argument)
        elif operation in self._plain:
            self._plain[operation]()
        elif operation not in _IDLE:
            raise PickleError(f"its pickle does {operation}, which tensors do not need")

    def _take_tuple(self, size: int) -> None:
        if len(self._stack) < size:
            raise IndexError
        parts = self._stack[len(self._stack) - size :]
        del self._stack[len(self._stack) - size :]
        self._stack.append(tuple(parts))

    def _since_mark(self) -> list[Any]:
        parts, self._stack = self._stack, self._marks.pop()
        return parts

    def _mark(self) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _tuple(self) -> None:
        parts = self._since_mark()
        self._stack.append(tuple(parts))

    def _list(self) -> None:
        self._stack.append([])

    def _dict(self) -> None:
        self._stack.append({})

    def _set_item(self) -> None:
        self._set([self._stack.pop(-2), self._stack.pop()])

    def _set_items(self) -> None:
        self._set(self._since_mark())

    def _set(self, parts: list[Any]) -> None:
        target = self._stack[-1]
        for key, value in zip(parts[::2], parts[1::2], strict=True):
            if not isinstance(target, dict) or not isinstance(key, str):
                raise PickleError(f"it has a {type(key).__name__} instead of the name of a tensor")
            target[key] = value

    def _append(self) -> None:
        value = self._stack.pop()
        self._stack[-1].append(value)

    def _append_all(self) -> None:
        values = self._since_mark()
        self._stack[-1].extend(values)

    def _build(self) -> None:
        """Ignore attributes that are set on a dict: those of a state dict are versions of modules, not tensors."""
        self._stack.pop()
        if not isinstance(self._stack[-1], dict):
            raise PickleError(f"it sets attributes of a {type(self._stack[-1]).__name__}")

    def _global(self, argument: str) -> None:
        self._name(*argument.split(" ", 1))

    def _stack_global(self) -> None:
        self._name(self._stack.pop(-2), self._stack.pop())

    def _name(self, module: str, name: str) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError
        if (module, name) not in self._names:
            raise ForeignName(f"{module}.{name}")
        self._stack.append(self._names[module, name])

    def _reduce(self) -> None:
        arguments = self._stack.pop()
        function = self._stack.pop()
        if not callable(function) or not isinstance(arguments, tuple):
            raise TypeError
        self._stack.append(function(*arguments))

    def _persistent_id(self) -> None:
        self._stack.append(self._refer(self._stack.pop()))

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _memoize(self, _: object) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])


_IDLE = {"PROTO", "FRAME", "STOP"}
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
