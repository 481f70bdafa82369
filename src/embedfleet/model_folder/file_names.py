"""Names of the files of a model folder in Hugging Face layout. Pure."""

from pathlib import PurePosixPath

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
VOCABULARY = "vocab.json"
CHAT_TEMPLATE = "chat_template.jinja"

SLOW_TOKENIZER_FILES = (
    "vocab.txt",
    VOCABULARY,
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    SPECIAL_TOKENS_MAP,
    ADDED_TOKENS,
)
"""Files that are read, with tokenizer_config.json, if there is no tokenizer.json."""

SPECIAL_TOKEN_FILES = (SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG)
"""Files that name a folder's special tokens; the first takes precedence."""

MODULES = "modules.json"
SENTENCE_TRANSFORMERS_CONFIG = "config_sentence_transformers.json"
SENTENCE_BERT_CONFIG = "sentence_bert_config.json"
SENTENCE_BERT_CONFIGS = (
    SENTENCE_BERT_CONFIG,
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
"""Names of sentence-transformers' settings for the transformer, by age and family.

The first one that is present counts, as in TEI's ``download.rs``.
"""

POOLING_FOLDER = "1_Pooling"
SPLADE_FOLDER = "1_SpladePooling"
POOLING_CONFIG = f"{POOLING_FOLDER}/{CONFIG}"
SPLADE_CONFIG = f"{SPLADE_FOLDER}/{CONFIG}"
LOGIT_SCORE_CONFIG = f"1_LogitScore/{CONFIG}"
DENSE_CONFIG = f"2_Dense/{CONFIG}"
NORMALIZE_CONFIG = f"3_Normalize/{CONFIG}"
"""Usual places of the settings of modules (pooling to normalisation); modules.json may name other folders."""

INDEX_SUFFIX = ".index.json"
"""Ending of a file that maps tensors to the shards that hold them."""

SAFETENSORS = "model.safetensors"
SAFETENSORS_INDEX = f"{SAFETENSORS}{INDEX_SUFFIX}"
TORCH_WEIGHTS = "pytorch_model.bin"
TORCH_INDEX = f"{TORCH_WEIGHTS}{INDEX_SUFFIX}"
ONNX_MODEL = "onnx/model.onnx"
ONNX_DATA = f"{ONNX_MODEL}_data"
"""Beginning of the names of the files that hold an ONNX model's weights."""

WEIGHTS_FILES = (SAFETENSORS, SAFETENSORS_INDEX, TORCH_WEIGHTS, TORCH_INDEX, ONNX_MODEL)
"""Files that may hold a model's weights; the first one that is present counts.

An ONNX file holds a whole forward pass instead of named tensors.
"""

SPARSE_LINEAR = "sparse_linear.pt"
COLBERT_LINEAR = "colbert_linear.pt"
"""Weights of bge-m3's sparse head and of its ColBERT head."""

_GIT_LFS_POINTER = b"version https://git-lfs"


def is_git_lfs_pointer(beginning: bytes) -> bool:
    """Whether a file that starts with these bytes is a git-lfs pointer instead of the file itself."""
    return beginning.startswith(_GIT_LFS_POINTER)


def is_index(name: str) -> bool:
    """Whether a file name is that of an index of weight shards."""
    return name.endswith(INDEX_SUFFIX)


def is_onnx(name: str) -> bool:
    """Whether a file name is that of an ONNX model."""
    return PurePosixPath(name).suffix == ".onnx"
