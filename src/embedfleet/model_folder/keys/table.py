"""Table of all keys of a model folder that transformers 5.23 and sentence-transformers 6.2 read for a text model.

Our engine does one of three things with a key: it honours the key as the libraries do, ignores it because it is
harmless, or refuses the folder and names the file and the key. docs/reference/models.md prints this table, and tests
check it.
"""

from embedfleet.model_folder.keys.config_keys import CONFIG_KEYS
from embedfleet.model_folder.keys.sentence_transformers_keys import SENTENCE_TRANSFORMERS_KEYS
from embedfleet.model_folder.keys.tokenizer_keys import TOKENIZER_KEYS

KEYS = (*CONFIG_KEYS, *SENTENCE_TRANSFORMERS_KEYS, *TOKENIZER_KEYS)
