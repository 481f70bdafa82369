"""The end token that a tokenizer's custom code would add, read from ``add_eos_token``; the code is never run."""

from pathlib import Path

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import has_file

_FILE = "tokenizer_config.json"


def read_ending(folder: Path) -> str | None:
    """The token to put after each text, beyond those of ``tokenizer.json``; None for none.

    transformers reads ``add_eos_token`` of slow tokenizers alone. Models whose tokenizer is code of their own, as of
    gte-Qwen2, mean it: that code is never run, and what it puts is what the key says.

    Raises:
        ModelError: there is such code, and the key is missing.
    """
    if not has_file(folder / _FILE):
        return None
    config = ModelConfig(folder / _FILE)
    code = config.values.get("auto_map")
    if not isinstance(code, dict) or not code.get("AutoTokenizer"):
        return None
    if config.values.get("add_eos_token") is None or config.flag("add_bos_token", default=False):
        raise ModelError(
            f"{config.file}: `auto_map` names a tokenizer's code, which is never run",
            "state `add_eos_token` there, and no `add_bos_token`; or save the folder with transformers' own tokenizer",
        )
    if not config.flag("add_eos_token", default=False):
        return None
    token = config.values.get("eos_token")
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str) or not text:
        raise ModelError(f"{config.file}: `add_eos_token` is true, and `eos_token` is {token!r}", "name the token")
    return text
