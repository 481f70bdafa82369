"""jina-embeddings-v2-base-code equals a second implementation: alone, in mixed batches, truncated, and at length."""

import json

import pytest

from embedfleet.engine.model.spec import Pooling
from tests.services.family_models import LONGEST, TEXTS, check, splade
from tests.services.jina import make_jina
from tests.services.jina_code import AUTO_MAP, JinaCodeReference, make_jina_code


@pytest.mark.parametrize(("heads", "gate"), [(2, "geglu"), (3, "reglu")])
def test_it_equals_what_its_papers_say(tmp_path, heads, gate):
    folder = make_jina_code(tmp_path / "m", heads=heads, longest=LONGEST, gate=gate)
    check(folder, [TEXTS, *([text] for text in TEXTS)], JinaCodeReference(folder).states)


def test_at_length(tmp_path):
    folder = make_jina_code(tmp_path / "m", heads=2, longest=1024)
    check(folder, [["so many words " * 300, TEXTS[1]]], JinaCodeReference(folder).states)


def test_its_word_head(tmp_path):
    folder = make_jina_code(tmp_path / "m", heads=2, longest=LONGEST)
    reference = JinaCodeReference(folder)
    check(folder, [TEXTS], lambda encoded: splade(reference.words(encoded)), pooling=Pooling.SPLADE)


def test_only_its_tensors_tell_it(tmp_path):
    """A fine-tuned folder names its own copy of the code or none, and both architectures state the same type."""
    code = make_jina_code(tmp_path / "code", heads=2, longest=LONGEST)
    config = json.loads((code / "config.json").read_text())
    del config["auto_map"]
    (code / "config.json").write_text(json.dumps(config))
    check(code, [TEXTS], JinaCodeReference(code).states)

    from tests.services.jina import JinaReference

    other = make_jina(tmp_path / "other", heads=2, longest=LONGEST)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"auto_map": AUTO_MAP}))
    check(other, [TEXTS], JinaReference(other).states)
