"""Our defaults for absent keys of config.json equal those of transformers."""

import pytest

from embedfleet.model_folder.defaults import DEFAULTS


@pytest.mark.parametrize("model_type", DEFAULTS)
def test_defaults_are_those_of_the_class(model_type):
    from transformers import CONFIG_MAPPING

    theirs = CONFIG_MAPPING[model_type]().to_dict()
    assert DEFAULTS[model_type].items() <= theirs.items()
