"""End-of-sequence token that a tokenizer's custom code would add.

The code is never run; ``add_eos_token`` in tokenizer_config.json decides.
"""

from pathlib import Path

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import has_file
from embedfleet.model_folder.file_names import TOKENIZER_CONFIG


def read_eos_token(folder: Path) -> str | None:
    """Read the token to append to each text in addition to those of ``tokenizer.json``; None for none.

    transformers reads ``add_eos_token`` for slow tokenizers only. A tokenizer with custom code, such as gte-Qwen2's,
    obeys the key as well. That code is never run, so the key decides here.

    Raises:
        ModelError: The tokenizer has custom code, and a key is missing or unsupported.
    """
    if not has_file(folder / TOKENIZER_CONFIG):
        return None
    config = ModelConfig(folder / TOKENIZER_CONFIG)
    code = config.values.get("auto_map")
    if not isinstance(code, dict) or not code.get("AutoTokenizer"):
        return None
    if config.values.get("add_eos_token") is None or config.flag("add_bos_token", default=False):
        raise ModelError(
            f"{config.file}: `auto_map` names custom code of a tokenizer, which is never run",
            "set `add_eos_token` there and remove `add_bos_token`; or save the folder with transformers' own tokenizer",
        )
    if not config.flag("add_eos_token", default=False):
        return None
    token = config.values.get("eos_token")
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str) or not text:
        raise ModelError(
            f"{config.file}: `add_eos_token` is true, but `eos_token` is {token!r}", "set `eos_token` to the token"
        )
    return text
