"""Small sound model folders of each family and in every format of weights, from which cases are made."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.fuzz import tokenizers
from bench.fuzz.weights import Tensors, m3_heads, onnx_pass, pickled, safetensors, shards, tensors_of
from embedfleet.engine.model.spec import read_model

Files = dict[str, bytes | None]
"""Files of a folder by their paths; None stands for a folder in place of a file."""

_WIDTH, _WIDE, _LENGTH = 16, 24, 40
_FORWARD = {"method": "forward", "method_output_name": "logits"}  # as sentence-transformers writes it
_COMMON = {"vocab_size": tokenizers.ROOM, "max_position_embeddings": _LENGTH, "pad_token_id": 0}
_BERT = _COMMON | {
    "hidden_size": _WIDTH,
    "intermediate_size": _WIDE,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "type_vocab_size": 2,
}
_ROBERTA = _BERT | {"model_type": "xlm-roberta", "pad_token_id": 1, "type_vocab_size": 1}
_LABELS = {"id2label": {"0": "no", "1": "yes", "2": "perhaps"}}
_TRANSFORMERS = "sentence_transformers.models."

_OF_ROLE = "{{{{ messages | selectattr('role', 'eq', '{}') | map(attribute='content') | first }}}}"
_ASKS = f"q {_OF_ROLE.format('query')} t {_OF_ROLE.format('document')} ?".encode()

Write = Callable[[Tensors], Mapping[str, bytes]]


@dataclass(frozen=True, slots=True)
class Kind:
    """The recipe of a folder.

    Attributes:
        config: Contents of ``config.json``.
        tokenizer: Function that gives ``tokenizer.json``.
        write: Function that gives the files of the tensors.
        beside: Further files; a value that is not bytes is written as JSON.
    """

    config: Mapping[str, object]
    tokenizer: Callable[[], bytes]
    write: Write
    beside: Mapping[str, object]


def _whole(dtype: str = "F32") -> Write:
    return lambda tensors: {"model.safetensors": safetensors(tensors, dtype)}


def _cut(dtype: str = "F32") -> Write:
    return lambda tensors: shards(tensors, "model", "safetensors", lambda part: safetensors(part, dtype))


def _pickle(tensors: Tensors) -> Mapping[str, bytes]:
    return {"pytorch_model.bin": pickled(tensors)}


def _cut_pickle(tensors: Tensors) -> Mapping[str, bytes]:
    return shards(tensors, "pytorch_model", "bin", pickled)


def _pass(_: Tensors) -> Mapping[str, bytes]:
    return {"onnx/model.onnx": onnx_pass(tokenizers.ROOM, _WIDTH)}


def _pooled(mode: str) -> dict[str, object]:
    return {"1_Pooling/config.json": {"word_embedding_dimension": _WIDTH, f"pooling_mode_{mode}": True}}


def _modules(*lines: tuple[str, str]) -> dict[str, object]:
    """A ``modules.json`` of sentence-transformers from classes and their folders."""
    listed = [
        {"idx": number, "name": str(number), "path": path, "type": _TRANSFORMERS + name}
        for number, (name, path) in enumerate(lines)
    ]
    return {"modules.json": listed}


def _dense(outputs: int) -> dict[str, object]:
    chance = np.random.default_rng(3)
    tensors = {
        "linear.weight": chance.standard_normal((outputs, _WIDTH), np.float32),
        "linear.bias": np.ones(outputs, np.float32),
    }
    config = {"in_features": _WIDTH, "out_features": outputs, "bias": True}
    activation = {"activation_function": "torch.nn.modules.activation.Tanh"}
    return {"2_Dense/config.json": config | activation, "2_Dense/model.safetensors": safetensors(tensors)}


_STEPS = _modules(("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"), ("Normalize", "3_Normalize"))
_SENTENCES = {
    "sentence_bert_config.json": {"max_seq_length": 32, "do_lower_case": False},
    "config_sentence_transformers.json": {"prompts": {"query": "query: "}, "default_prompt_name": None},
}
_SPECIAL = {
    "special_tokens_map.json": {"cls_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": "<pad>"},
    "tokenizer_config.json": {"unk_token": "<unk>"},
}

KINDS: dict[str, Kind] = {
    "bert with modules": Kind(
        _BERT | {"model_type": "bert", "architectures": ["BertModel"]},
        tokenizers.word_piece,
        _whole(),
        _pooled("mean_tokens") | _STEPS | _dense(8) | _SENTENCES,
    ),
    "bert in onnx": Kind(
        _BERT | {"model_type": "bert", "architectures": ["BertModel"]},
        tokenizers.word_piece,
        _pass,
        _pooled("cls_token"),
    ),
    "bge-m3": Kind(
        _ROBERTA | {"architectures": ["XLMRobertaModel"]},
        tokenizers.unigram,
        _pickle,
        _pooled("cls_token") | _SENTENCES | _SPECIAL | m3_heads(_WIDTH),
    ),
    "xlm-roberta reranker": Kind(
        _ROBERTA | {"architectures": ["XLMRobertaForSequenceClassification"], "id2label": {"0": "LABEL_0"}},
        tokenizers.unigram,
        _cut(),
        {},
    ),
    "distilbert splade": Kind(
        _COMMON
        | {"model_type": "distilbert", "architectures": ["DistilBertForMaskedLM"], "activation": "gelu"}
        | {"dim": _WIDTH, "hidden_dim": _WIDE, "n_layers": 2, "n_heads": 2},
        tokenizers.word_piece,
        _pickle,
        _modules(("MLMTransformer", ""), ("SpladePooling", "1_SpladePooling"))
        | {"1_SpladePooling/config.json": {"pooling_strategy": "max", "activation_function": "relu"}},
    ),
    "mpnet": Kind(
        _BERT | {"model_type": "mpnet", "architectures": ["MPNetModel"], "relative_attention_num_buckets": 32},
        tokenizers.word_piece,
        _cut_pickle,
        _pooled("max_tokens") | _SENTENCES,
    ),
    "modernbert classifier": Kind(
        _BERT
        | {"model_type": "modernbert", "architectures": ["ModernBertForSequenceClassification"], **_LABELS}
        | {"num_hidden_layers": 3, "local_attention": 8, "global_attn_every_n_layers": 3, "hidden_activation": "gelu"}
        | {"global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "classifier_pooling": "mean"},
        tokenizers.byte_pairs,
        _whole("F16"),
        {},
    ),
    "qwen3": Kind(
        _BERT
        | {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-6}
        | {"num_key_value_heads": 1, "head_dim": 8, "rope_theta": 1000000, "rope_scaling": None},
        tokenizers.byte_pairs,
        _cut("BF16"),
        _pooled("lasttoken") | _modules(("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")),
    ),
    "gemma": Kind(
        _BERT
        | {"model_type": "gemma3_text", "architectures": ["Gemma3TextModel"], "use_bidirectional_attention": True}
        | {"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 16}
        | {"rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "sliding_window_pattern": 2},
        tokenizers.byte_pairs,
        _whole("BF16"),
        _pooled("mean_tokens") | _STEPS | _dense(8),
    ),
    "mistral": Kind(
        _BERT
        | {"model_type": "mistral", "architectures": ["MistralModel"], "hidden_act": "silu", "sliding_window": 8}
        | {"num_key_value_heads": 1, "rope_theta": 10000.0, "is_causal": True},
        tokenizers.byte_pairs,
        _whole(),
        _pooled("lasttoken"),
    ),
    "judge": Kind(
        _BERT
        | {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu"}
        | {"num_key_value_heads": 1, "tie_word_embeddings": False, "rope_theta": 10000.0}
        | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}},
        tokenizers.byte_pairs,
        _whole("F16"),
        _modules(("Transformer", ""), ("LogitScore", "1_LogitScore"))
        | {"1_LogitScore/config.json": {"true_token_id": 9, "false_token_id": 5}}
        | {
            "sentence_bert_config.json": {
                "modality_config": {"text": _FORWARD, "message": _FORWARD | {"format": "flat"}}
            }
        }
        | {"chat_template.jinja": _ASKS},
    ),
    "gte": Kind(
        _BERT
        | {"model_type": "new", "architectures": ["NewModel"], "position_embedding_type": "rope"}
        | {"rope_theta": 20000, "rope_scaling": {"type": "ntk", "factor": 2.0}, "layer_norm_type": "layer_norm"},
        tokenizers.word_piece,
        _whole(),
        _pooled("weightedmean_tokens"),
    ),
    "nomic": Kind(
        {"model_type": "nomic_bert", "architectures": ["NomicBertModel"], "activation_function": "swiglu"}
        | {"n_embd": _WIDTH, "n_inner": _WIDE, "n_layer": 2, "n_head": 2, "n_positions": _LENGTH, "type_vocab_size": 2}
        | {"vocab_size": tokenizers.ROOM, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0},
        tokenizers.word_piece,
        _whole(),
        _pooled("mean_sqrt_len_tokens"),
    ),
    "jina": Kind(
        _BERT
        | {"model_type": "bert", "architectures": ["JinaBertModel"], "position_embedding_type": "alibi"}
        | {"feed_forward_type": "geglu"},
        tokenizers.word_piece,
        _whole("F16"),
        _pooled("mean_tokens"),
    ),
    "deberta reranker": Kind(
        _BERT
        | {"model_type": "deberta-v2", "architectures": ["DebertaV2ForSequenceClassification"]}
        | {"id2label": {"0": "LABEL_0"}, "relative_attention": True, "pos_att_type": "p2c|c2p", "position_buckets": 8}
        | {"share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False}
        | {"conv_kernel_size": 3, "conv_act": "gelu", "pooler_hidden_act": "gelu", "pooler_hidden_size": _WIDTH},
        tokenizers.unigram,
        _whole("F16"),
        {},
    ),
    "nomic experts": Kind(
        {"model_type": "nomic_bert", "architectures": ["NomicBertModel"], "activation_function": "gelu"}
        | {"n_embd": _WIDTH, "n_inner": _WIDE, "n_layer": 2, "n_head": 2, "n_positions": _LENGTH, "type_vocab_size": 1}
        | {"vocab_size": tokenizers.ROOM, "rotary_emb_base": 10000, "rotary_emb_fraction": 1.0, "qkv_proj_bias": True}
        | {"mlp_fc1_bias": True, "mlp_fc2_bias": True, "moe_every_n_layers": 2, "moe_top_k": 2, "num_experts": 4}
        | {"auto_map": {"AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel"}},
        tokenizers.unigram,
        _whole(),
        _pooled("mean_tokens"),
    ),
}
"""All recipes by name."""


def make_files(kind: Kind) -> Files:
    """Make the files of a folder that the engine can serve."""
    files: Files = {"config.json": _json(kind.config), "tokenizer.json": kind.tokenizer()}
    files |= {path: value if isinstance(value, bytes) else _json(value) for path, value in kind.beside.items()}
    with TemporaryDirectory() as place:
        folder = Path(place)
        write_files(folder, files | {"model.safetensors": safetensors({})})  # only its name matters here
        tensors = tensors_of(read_model(folder))
    return files | dict(kind.write(tensors))


def write_files(folder: Path, files: Files) -> None:
    """Write a folder's files."""
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            file.mkdir()
        else:
            file.write_bytes(content)


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()
