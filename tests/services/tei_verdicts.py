"""Verdicts on folders for TEI, for tests of single rules."""

import json
from dataclasses import replace

from embedfleet.control.tei.folder import judge
from tests.services.tei_folders import AMPERE, BERT, rewritten

LENGTH = "sentence_bert_config.json"
POOLING = "1_Pooling/config.json"
PROMPTS = "config_sentence_transformers.json"
NEW_POOLING = {"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": True}


def served(found, target=AMPERE):
    """The verdict on a folder that is served; the rewritten folder needs no further change."""
    verdict = judge(found, target)
    assert not verdict.refuses, str(verdict)
    again = judge(rewritten(found, verdict), replace(target, has_prompt=True))
    assert again.serves_as_it_is, str(again)
    return verdict


def written(found, name, target=AMPERE):
    """A file as TEI gets it, and the keys whose changes are explained."""
    verdict = served(found, target)
    assert name in verdict.files, str(verdict)
    return json.loads(verdict.files[name]), {change.key for change in verdict.changes if change.file == name}


def refused(found, target=AMPERE):
    """File, key and reason of the only refusal."""
    (refusal,) = judge(found, target).refusals
    assert refusal.hint
    return refusal.file, refusal.key, refusal.reason


def config(**changes):
    return {"config.json": {key: value for key, value in (BERT | changes).items() if value is not ...}}
