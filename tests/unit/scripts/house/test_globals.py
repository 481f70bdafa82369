"""The rule on module globals finds each kind of change and passes constants and local names."""

import pytest

from scripts.house.globals import mutable_globals
from scripts.house.source import Source


def faults(text):
    return [fault.split(": ", 1)[1] for fault in mutable_globals([Source.parse("src/embedfleet/a.py", text)])]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("N = 0\ndef f():\n    global N\n    N += 1\n", "global N"),
        ("T = {}\ndef f():\n    T['a'] = 1\n", "f changes the module's T"),
        ("T = {}\ndef f():\n    del T['a']\n", "f changes the module's T"),
        ("T = {}\ndef f():\n    T['a']['b'] += 1\n", "f changes the module's T"),
        ("T: list = []\nclass C:\n    def f(self):\n        T.append(1)\n", "f calls append on the module's T"),
        ("class C: ...\ndef f():\n    C.count = 1\n", "f changes the module's C"),
        ("from embedfleet.b import T\ndef f():\n    T.update(a=1)\n", "f calls update on the module's T"),
    ],
)
def test_a_change_of_a_module_global_is_a_fault(text, fault):
    assert faults(text) == [fault]


@pytest.mark.parametrize(
    "text",
    [
        "T = {'a': 1}\nT['b'] = 2\ndef f():\n    return T['a']\n",
        "t = []\ndef f():\n    t = []\n    t.append(1)\n",
        "t = []\ndef f(t):\n    t.append(1)\n",
        "import os\ndef f():\n    os.environ.update(a='b')\n",
    ],
)
def test_constants_local_names_and_other_packages_are_no_fault(text):
    assert faults(text) == []
