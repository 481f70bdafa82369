"""A parsed chat template renders as transformers renders it."""

import pytest

from embedfleet.engine.model.reranker_prompt import parse_reranker_prompt

ROLE = 'messages | selectattr("role", "eq", "{}") | map(attribute="content") | first'
QUERY, DOCUMENT, SYSTEM = (ROLE.format(role) for role in ("query", "document", "system"))
TEMPLATES = {
    "as Qwen3-Reranker's": (
        "{%- set instruction = " + SYSTEM + ' | default("Given a query, retrieve passages") -%}\n'
        "{%- set query_text = " + QUERY + " -%}\n{%- set document_text = " + DOCUMENT + " -%}\n"
        "<|im_start|>system\nJudge. Answer only \"yes\" or 'no'.<|im_end|>\n<|im_start|>user\n"
        "<Instruct>: {{ instruction }}\n<Query>: {{ query_text }}\n<Document>: {{ document_text }}<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n\n"
    ),
    "at once": "Q: {{ " + QUERY + " }}\nD: {{" + DOCUMENT + "}}\n",
    "of the first": "question:{{ (messages | selectattr('role', 'eq', 'query') | first).content }}\n \n"
    "passage:{{ (messages | selectattr('role', '==', 'document') | first).content }}",
    "blocks on lines of their own": "a\n  {% set q = "
    + QUERY
    + " %}\n  {% set d = "
    + DOCUMENT
    + " %}\n {{ q }} \n\n{{ d }}\n\n",
    "trimmed": "a \n {{- " + QUERY + " -}} \n b {#- a remark -#} c {# another #} \n{{ " + DOCUMENT + " }} \n",
    "kept": "a {%+ set q = " + QUERY + " +%} \n{{ q }}{% set x = 'it\\'s \\n' %}\n{{ x }} {{ " + DOCUMENT + " }}\r\n",
    "instruction without a default": "{{ " + SYSTEM + " }}|{{ " + QUERY + " }}|{{ " + DOCUMENT + " }}",
    "the other way round": "{{ " + DOCUMENT + " }}?{{ " + QUERY + " }}",
    "a default of its own": "{{ " + QUERY + " | default('nothing') }} {{ " + DOCUMENT + " }}",
}
SAID = [("what is it?", "a text\nof two lines"), ("", " blanks "), ("{{ x }}", "{% set %}")]


def rendered(template, query, document, instruction):
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = [{"role": "query", "content": query}, {"role": "document", "content": document}]
    if instruction:
        messages.insert(0, {"role": "system", "content": instruction})
    (texts, _) = render_jinja_template([messages], chat_template=template)
    return texts[0]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("instruction", [None, "Judge by colour"])
def test_it_renders_as_transformers_does(name, instruction):
    dialogue = parse_reranker_prompt(TEMPLATES[name])
    for query, document in SAID:
        ours = dialogue.render(query, document, instruction)
        assert ours == rendered(TEMPLATES[name], query, document, instruction)


@pytest.mark.parametrize(
    "template",
    ["", "{% for m in messages %}{{ m.content }}{% endfor %}", "<|im_start|>user {{ messages[0].content }}"],
)
def test_a_template_of_other_roles_is_none_of_a_pair(template):
    assert parse_reranker_prompt(template) is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("{% if add_generation_prompt %}x{% endif %}", "it has the statement 'if add_generation_prompt'"),
        ("{{ bos_token }}", "it has the expression 'bos_token'"),
        ("{{ messages | length }}", "it has the expression"),
        ("{{ messages | selectattr('role', 'ne', 'query') | map(attribute='content') | first }}", "the expression"),
        ("{{ messages | selectattr('name', 'eq', 'query') | map(attribute='content') | first }}", "the expression"),
        ("{{ (messages | selectattr('role', 'eq', 'system') | first).content }}", "the expression"),
        ("{{ cycler.__init__.__globals__ }}", "the expression"),
        (r"{{ '\x' }}", "it has the string"),
    ],
)
def test_what_else_a_template_does_is_refused_by_its_words(more, message):
    with pytest.raises(ValueError, match=message):
        parse_reranker_prompt(TEMPLATES["at once"] + more)


def test_a_template_that_loses_the_document_is_refused():
    with pytest.raises(ValueError, match="leaves out the query or the document"):
        parse_reranker_prompt("{% set d = " + DOCUMENT + " %}{{ " + QUERY + " }}")
