"""Numbers of a model's config, and the errors for those that cannot be right."""

import pytest

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig


@pytest.mark.parametrize(
    ("text", "at_most", "message"),
    [
        ('{"n": -1}', None, "`n` is -1, it must be at least 0"),
        ('{"n": -1}', 9, "`n` is -1, it must be from 0 to 9"),
        ('{"n": 10}', 9, "`n` is 10, it must be from 0 to 9"),
        ('{"n": true}', 9, "`n` is True, it must be a whole number"),
        ("{}", 9, "`n` is None, it must be a whole number"),
    ],
)
def test_a_number_that_cannot_be_right_is_refused_with_its_limits(tmp_path, text, at_most, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=message):
        ModelConfig(tmp_path / "config.json").number("n", at_most=at_most)
