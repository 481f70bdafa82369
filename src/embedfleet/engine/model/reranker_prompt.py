"""Prompt of a generative reranker: text around an instruction, a query and a document.

The model's folder holds it as a chat template, a program in Jinja. The program is never run. The parser knows the few
forms that put these three contents into a text, and refuses a template with anything else.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

_STRING = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_OF_ROLE = rf"messages\s*\|\s*selectattr\(\s*{_STRING}\s*,\s*{_STRING}\s*,\s*{_STRING}\s*\)\s*\|\s*"
_CONTENT = re.compile(
    rf"{_OF_ROLE}map\(\s*attribute\s*=\s*{_STRING}\s*\)\s*\|\s*first(?:\s*\|\s*default\(\s*{_STRING}\s*\))?"
)
_CONTENT_OF_FIRST = re.compile(rf"\(\s*{_OF_ROLE}first\s*\)\s*\.\s*content")
_SET = re.compile(r"set\s+([A-Za-z_]\w*)\s*=\s*(.*)", re.DOTALL)
_TAG = re.compile(
    r"\{%(?P<b>[-+]?)(?P<block>.*?)(?P<e>[-+]?)%\}"
    r"|\{\{(?P<vb>[-+]?)(?P<value>.*?)(?P<ve>[-+]?)\}\}"
    r"|\{#(?P<cb>[-+]?).*?(?P<ce>[-+]?)#\}",
    re.DOTALL,
)
_EQUALS = {"eq", "equalto", "=="}
_INSTRUCTION, _QUERY, _DOCUMENT = "system", "query", "document"


@dataclass(frozen=True, slots=True)
class _Slot:
    """Place in the prompt for the content of a role.

    Attributes:
        role: Role, such as ``query``.
        default: Content if there is no message with this role.
    """

    role: str
    default: str = ""


_Part = str | _Slot


@dataclass(frozen=True, slots=True)
class RerankerPrompt:
    """A parsed chat template.

    Attributes:
        parts: Texts and slots, in order.
        instruction: Instruction for requests without one; empty for the template's default.
    """

    parts: tuple[_Part, ...]
    instruction: str = ""

    def render(self, query: str, document: str, instruction: str | None = None) -> str:
        """Make the text that the model reads."""
        contents = {_QUERY: query, _DOCUMENT: document}
        if instruction or self.instruction:
            contents[_INSTRUCTION] = instruction or self.instruction
        return "".join(part if isinstance(part, str) else contents.get(part.role, part.default) for part in self.parts)


def parse_reranker_prompt(template: str) -> RerankerPrompt | None:
    """Parse a chat template; None if it does not mention the roles query and document.

    Args:
        template: Template in Jinja, with transformers' settings: blocks are trimmed, the last newline is dropped.

    Raises:
        ValueError: The template mentions these roles, and has a form that the parser does not know.
    """
    if not all(re.search(rf"""["']{role}["']""", template) for role in (_QUERY, _DOCUMENT)):
        return None
    values: dict[str, _Part] = {}
    parts: list[_Part] = []
    for text, tag in _pieces(template):
        parts.append(text)
        if tag is None or tag.lastgroup == "ce":
            continue
        if tag.lastgroup == "ve":
            parts.append(_value(tag["value"].strip(), values))
            continue
        statement = _SET.fullmatch(tag["block"].strip())
        if statement is None:
            raise ValueError(f"it has the statement {tag['block'].strip()!r}")
        values[statement[1]] = _value(statement[2].strip(), values)
    roles = {part.role for part in parts if isinstance(part, _Slot)}
    if not {_QUERY, _DOCUMENT} <= roles:
        raise ValueError("it leaves out the query or the document")
    return RerankerPrompt(tuple(part for part in parts if part))


def _pieces(template: str) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Yield each text between tags, with white space trimmed as in Jinja, and the tag after it."""
    template = template.replace("\r\n", "\n").removesuffix("\n")
    at, strips, begins_line = 0, False, True
    for tag in _TAG.finditer(template):
        text = template[at : tag.start()]
        text = text.lstrip() if strips else text
        before = tag["b"] or tag["vb"] or tag["cb"]
        after = tag["e"] or tag["ve"] or tag["ce"]
        is_value = tag.lastgroup == "ve"
        if before == "-":
            text = text.rstrip()
        elif not is_value and before != "+":
            line = text.rfind("\n") + 1
            if (line or begins_line) and not text[line:].strip():
                text = text[:line]
        yield text, tag
        at, strips, begins_line = tag.end(), after == "-", False
        if not is_value and not after and template[at : at + 1] == "\n":
            at, begins_line = at + 1, True
    yield template[at:].lstrip() if strips else template[at:], None


def _value(expression: str, values: dict[str, _Part]) -> _Part:
    """Parse an expression to a text or a slot.

    Raises:
        ValueError: The expression has a form that the parser does not know.
    """
    if expression in values:
        return values[expression]
    if re.fullmatch(_STRING, expression):
        return _text(expression)
    if found := _CONTENT.fullmatch(expression):
        attribute, test, role, content, default = (_text(part) for part in found.groups(default='""'))
        if (attribute, content) == ("role", "content") and test in _EQUALS:
            return _Slot(role, default)
    elif found := _CONTENT_OF_FIRST.fullmatch(expression):
        attribute, test, role = (_text(part) for part in found.groups())
        if attribute == "role" and test in _EQUALS and role in {_QUERY, _DOCUMENT}:
            return _Slot(role)
    raise ValueError(f"it has the expression {expression!r}")


def _text(literal: str) -> str:
    """Parse a string literal.

    Raises:
        ValueError: It is not a valid string literal.
    """
    try:
        return str(ast.literal_eval(literal))
    except SyntaxError as error:
        raise ValueError(f"it has the string {literal}") from error
