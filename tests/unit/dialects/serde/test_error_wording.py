"""Bodies of a wrong form get TEI's messages: the recorded ones, and others that follow from its libraries."""

import re

import pytest

from bench.conformance.recording import kinds, read
from embedfleet.dialects.json_body import read_object
from embedfleet.dialects.serde import tei_structs
from embedfleet.dialects.serde.error_wording import NO_JSON, WRONG_SHAPE, read_fields
from embedfleet.dialects.serving import openai, tei
from embedfleet.errors import Empty, MalformedBody, RequestError, WrongShape

JSON = b"application/json"
READERS = {
    "/embed": (tei_structs.EMBED, tei.parse_embed),
    "/embed_all": (tei_structs.EMBED_ALL, tei.parse_embed_all),
    "/embed_sparse": (tei_structs.EMBED_SPARSE, tei.parse_embed_all),
    "/v1/embeddings": (tei_structs.EMBEDDINGS, openai.parse_embeddings),
    "/embeddings": (tei_structs.EMBEDDINGS, openai.parse_embeddings),
    "/rerank": (tei_structs.RERANK, tei.parse_rerank),
    "/predict": (tei_structs.PREDICT, tei.parse_predict),
    "/similarity": (tei_structs.SIMILARITY, tei.parse_similarity),
    "/tokenize": (tei_structs.TOKENIZE, tei.parse_tokenize),
    "/decode": (tei_structs.DECODE, tei.parse_decode),
}


def refusal(path: str, body: bytes) -> tuple[int, str]:
    """Status and message of a route for a body of a wrong form; 200 if the form is right."""
    struct, parse = READERS[path]
    try:
        parse(read_object(JSON, body, struct))
    except RequestError as error:
        return error.status, str(error)
    except Empty:
        pass
    return 200, ""


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind != "closed"])
def test_recorded_bodies_are_taken_or_refused_in_the_same_words(kind):
    asked = [
        case
        for case in read(kind)
        if case.request.method == "POST" and case.request.path in READERS and case.answer.status not in (413, 415)
    ]
    is_form = re.compile(f"^({re.escape(NO_JSON)}|{re.escape(WRONG_SHAPE)})")
    wanted, found = {}, {}
    for case in asked:
        of_form = isinstance(case.answer.body, str) and is_form.match(case.answer.body)
        wanted[case.name] = (case.answer.status, case.answer.body) if of_form else (200, "")
        found[case.name] = refusal(case.request.path, case.request.body)
    assert found == wanted
    assert sum(status != 200 for status, _ in wanted.values()) > 20 or kind in {"splade", "strict"}


DATA, SYNTAX = (422, WRONG_SHAPE), (400, NO_JSON)


@pytest.mark.parametrize(
    ("path", "body", "kind", "text"),
    [
        # The first fault in the body counts, not the first faulty field of the route.
        ("/embed", b'{"normalize":1,"inputs":5}', DATA,
         "normalize: invalid type: integer `1`, expected a boolean at line 1 column 14"),
        ("/embed", b'{"inputs":5,"normalize":1}', DATA,
         "inputs: data did not match any variant of untagged enum Input at line 1 column 11"),
        # Lines are counted, and columns from the last break on.
        ("/embed", b'{\n "inputs": "a",\n "truncate": 5\n}', DATA,
         "truncate: invalid type: integer `5`, expected a boolean at line 3 column 14"),
        ("/embed", b'\n\n', SYNTAX, "EOF while parsing a value at line 3 column 0"),
        # Columns are bytes.
        ("/embed", '{"inputs":"ü","truncate":5}'.encode(), DATA,
         "truncate: invalid type: integer `5`, expected a boolean at line 1 column 27"),
        # A struct may be written as a list; the message for missing fields states its length.
        ("/embed", b'["a",null,"Left"]', DATA,
         "invalid length 3, expected struct EmbedRequest with 6 elements at line 1 column 17"),
        ("/embed", b'["a",null,"Left",null,true,null,1]', SYNTAX, "trailing characters at line 1 column 33"),
        ("/embed", b'["a",null,"Left",null,true,null,]', SYNTAX, "trailing comma at line 1 column 33"),
        ("/embed", b'[5]', DATA, "[0]: data did not match any variant of untagged enum Input at line 1 column 3"),
        ("/rerank", b'["a"]', DATA,
         "invalid length 1, expected struct RerankRequest with 6 elements at line 1 column 5"),
        ("/similarity", b'{"inputs":["a"]}', DATA,
         "inputs: invalid length 1, expected struct SimilarityInput with 2 elements at line 1 column 15"),
        # Paths.
        ("/rerank", b'{"query":"a","texts":["b","c",7]}', DATA,
         "texts[2]: invalid type: integer `7`, expected a string at line 1 column 31"),
        ("/similarity", b'{"inputs":{"source_sentence":"a","sentences":["b",null]}}', DATA,
         "inputs.sentences[1]: invalid type: null, expected a string at line 1 column 54"),
        ("/similarity", b'{"inputs":{"source_sentence":"a","sentences":[]},"parameters":{"truncate":1}}', DATA,
         "parameters.truncate: invalid type: integer `1`, expected a boolean at line 1 column 75"),
        ("/embed", b'{"inputs":[["a",NaN]]}', SYNTAX, "inputs[0][1]: expected value at line 1 column 17"),
        ("/embed", b'{"inputs":{"a":{"b":tru}}}', SYNTAX, "inputs.a.b: expected ident at line 1 column 24"),
        ("/embed", b'{"inputs":{"a" 1}}', SYNTAX, "inputs.a: expected `:` at line 1 column 16"),
        ("/similarity", b'{"inputs":{"source_sentence":"a" "sentences":[]}}', SYNTAX,
         "inputs.?: expected `,` or `}` at line 1 column 34"),
        # A field that occurs twice, also with an escape in its name, and within another field.
        ("/embed", b'{"truncate":true,"inputs":"a","truncate":false}', DATA,
         "duplicate field `truncate` at line 1 column 40"),
        ("/embed", b'{"inputs":"a","inp\\u0075ts" : "b"}', DATA, "duplicate field `inputs` at line 1 column 28"),
        ("/embed", b'{"inputs":"a: b","inputs":"c"}', DATA, "duplicate field `inputs` at line 1 column 25"),
        ("/similarity", b'{"inputs":{"source_sentence":"a","sentences":["b"],"sentences":["b"]}}', DATA,
         "inputs: duplicate field `sentences` at line 1 column 62"),
        # Enumerations.
        ("/embeddings", b'{"input":"a","encoding_format":{"hex":null}}', DATA,
         "encoding_format: unknown variant `hex`, expected `float` or `base64` at line 1 column 37"),
        ("/embed", b'{"inputs":"a","truncation_direction":{"Left":5}}', DATA,
         "truncation_direction.Left: invalid type: integer `5`, expected unit at line 1 column 46"),
        ("/embed", b'{"inputs":"a","truncation_direction":', SYNTAX,
         "truncation_direction: EOF while parsing a value at line 1 column 37"),
        # Numbers.
        ("/embed", b'{"inputs":"a","dimensions":-5}', DATA,
         "dimensions: invalid value: integer `-5`, expected usize at line 1 column 29"),
        ("/embed", b'{"inputs":"a","dimensions":01}', SYNTAX, "dimensions: invalid number at line 1 column 29"),
        ("/embed", b'{"inputs":"a","dimensions":1.}', SYNTAX, "dimensions: invalid number at line 1 column 30"),
        ("/embed", b'{"inputs":"a","dimensions":1e999}', SYNTAX, "dimensions: number out of range at line 1 column 32"),
        ("/embed", b'{"inputs":"a","dimensions":' + b"9" * 5000 + b"}", SYNTAX,
         "dimensions: number out of range at line 1 column 5027"),
        ("/embed", b'{"inputs":-1' + b"0" * 4999 + b"}", SYNTAX, "inputs: number out of range at line 1 column 5011"),
        ("/embed", b'{"inputs":[-]}', SYNTAX, "inputs[0]: invalid number at line 1 column 13"),
        # Strings.
        ("/embed", b'{"inputs":"a\\x"}', SYNTAX, "inputs: invalid escape at line 1 column 14"),
        ("/embed", b'{"inputs":"\\udc00"}', SYNTAX, "inputs: lone leading surrogate in hex escape at line 1 column 17"),
        ("/embed", b'{"inputs":"\\ud800\\u0041"}', SYNTAX,
         "inputs: lone leading surrogate in hex escape at line 1 column 23"),
        ("/embed", b'{"inputs":"\\u12', SYNTAX, "inputs: EOF while parsing a string at line 1 column 15"),
        ("/embed", b'{"inputs":"a","truncate":"say \\"hi\\"\\n"}', DATA,
         'truncate: invalid type: string "say \\"hi\\"\\n", expected a boolean at line 1 column 39'),
        ("/embed", b'{"in\xffputs":"a"}', SYNTAX, "invalid unicode code point at line 1 column 10"),
        # Ignored values must be JSON too.
        ("/embed", b'{"inputs":"a","zzz":[1,]}', SYNTAX, "zzz: expected value at line 1 column 24"),
        ("/embed", b'{"zzz":{"a":1,},"inputs":"a"}', SYNTAX, "zzz: key must be a string at line 1 column 15"),
        ("/embed", b'{"zzz":[1 2],"inputs":"a"}', SYNTAX, "zzz: expected `,` or `]` at line 1 column 11"),
        # Texts to classify.
        ("/predict", b'{"inputs":["a",5]}', DATA,
         "inputs[1]: invalid type: integer `5`, expected a string at line 1 column 16"),
        ("/predict", b'{"inputs":[["a"],"b"]}', DATA,
         "inputs[1]: invalid type: string \"b\", expected a sequence at line 1 column 20"),
        ("/predict", b'{"inputs":["a",["b"]]}', DATA,
         "inputs[1]: invalid type: sequence, expected a string at line 1 column 15"),
    ],
)  # fmt: skip
def test_unrecorded_bodies_follow_the_same_rules(path, body, kind, text):
    assert refusal(path, body) == (kind[0], kind[1] + text)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", b'{"inputs":"a"} \xff behind'),
        ("/embed", b'["a",true,"Left",null,false,3]'),
        ("/embed_all", b'["a"' + b",null" + b',"Left",null]'),
        ("/embed_all", b'{"inputs":"a","normalize":5,"dimensions":"x"}'),
        ("/embed", b'{"inputs":"a","truncation_direction":{"Left":null}}'),
        ("/embed", b'{"inputs":"a","zzz":"\xff\\ud800"}'),
        ("/embed", b'{"inputs":"a","zzz":' + b"[" * 3000 + b"]" * 3000 + b"}"),
        ("/embed", b'{"inputs":"a","meta":{"inputs":1,"inputs":2}}'),
        ("/embed", b'{"inputs":"a \\"inputs\\": b"}'),
        ("/similarity", b'[["a",["b"]],null]'),
        ("/predict", b'{"inputs":["a"]}'),
    ],
)
def test_bodies_that_the_library_accepts_are_accepted(path, body):
    assert refusal(path, body) == (200, "")


def test_fields_of_a_list_are_those_of_an_object():
    struct, parse = READERS["/embed"]
    listed = parse(read_object(JSON, b'["a",true,"Left",null,false,3]', struct))
    named = b'{"inputs":"a","truncate":true,"truncation_direction":"Left","normalize":false,"dimensions":3}'
    assert listed == parse(read_object(JSON, named, struct))


def test_a_body_of_too_many_items_is_refused_without_a_place():
    body = b'{"query":"a","texts":[' + b'"b",' * 30_000 + b"7]}"
    assert refusal("/rerank", body) == (422, WRONG_SHAPE + "texts[30000]: invalid type: integer `7`, expected a string")
    status, text = refusal("/rerank", body[:-1])
    assert (status, text.startswith(NO_JSON)) == (400, True)


def test_deep_input_is_refused_and_does_not_end_the_process():
    for depth in (127, 5000):
        with pytest.raises((MalformedBody, WrongShape)) as refused:
            read_fields(b'{"inputs":' + b"[" * depth, tei_structs.EMBED)
        assert "recursion limit exceeded at line 1 column 137" in str(refused.value)
