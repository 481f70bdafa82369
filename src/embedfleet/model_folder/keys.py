"""What each key of a model folder means, and what our engine and TEI do with it.

The keys are those that transformers 5.23 and sentence-transformers 6.2 read of a text model. Our engine does one of
three things with a key: it honours it as the libraries do, ignores it because it is harmless, or refuses the folder
with file and key. docs/reference/models.md prints this table, and tests check it.
"""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What becomes of a key's value."""

    HONOURED = "honoured"
    HARMLESS = "harmless"  # no number that is served depends on it
    REFUSED = "refused"  # the note says which values are
    MISREAD = "misread"  # by TEI alone, in silence, though the numbers depend on it


H, N, R, M = Verdict.HONOURED, Verdict.HARMLESS, Verdict.REFUSED, Verdict.MISREAD
CONFIG = "config.json"
MODULES = "modules.json"
SENTENCE = "sentence_bert_config.json"
PROMPTS = "config_sentence_transformers.json"
POOLING = "1_Pooling/config.json"
SPLADE = "1_SpladePooling/config.json"
DENSE = "2_Dense/config.json"
NORMALIZE = "3_Normalize/config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL = "special_tokens_map.json"
ADDED = "added_tokens.json"
ADAPTER = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Key:
    """One key, or several that are treated alike.

    Attributes:
        file: its usual name; a module's folder may have another.
        keys: in the file; none stands for the file as a whole.
        meaning: what the keys change.
        engine: what our engine does with them.
        note: details of that; for what is refused, which values.
        tei: what TEI 1.9.3 does with them.
        tei_note: details of that.
        is_corrected: whether ``up`` gives TEI a corrected copy; the model stays the same.
    """

    file: str
    keys: tuple[str, ...]
    meaning: str
    engine: Verdict
    note: str
    tei: Verdict
    tei_note: str = ""
    is_corrected: bool = False


KEYS = (
    Key(CONFIG, ("model_type",), "the family", H, "the families listed above", H, "TEI has a list of its own"),
    Key(
        CONFIG,
        ("architectures",),
        "the model's head: embedder, classifier, SPLADE",
        H,
        "if it is absent or names a class without a head, the weights tell which head there is",
        R,
        "if absent; if it names a class without a head, TEI ignores a head in the weights",
        is_corrected=True,
    ),
    Key(
        CONFIG,
        ("auto_map",),
        "code that comes with the model",
        R,
        "any class that is not one of our families' classes; the code is never run",
        N,
    ),
    Key(
        CONFIG, ("id2label",), "names of classes, and how many", H, "", R, "if a classifier lacks it", is_corrected=True
    ),
    Key(
        CONFIG,
        ("num_labels",),
        "how many classes, without `id2label`",
        H,
        "2 if neither is there",
        M,
        "read only for ModernBERT, 1 if absent",
        is_corrected=True,
    ),
    Key(CONFIG, ("label2id",), "for training", N, "", R, "if a classifier lacks it", is_corrected=True),
    Key(CONFIG, ("problem_type",), "for training", N, "", N, "not read"),
    Key(
        CONFIG,
        ("sbert_ce_default_activation_function", "sentence_transformers"),
        "the activation of a cross-encoder's scores",
        N,
        "the request's `raw_scores` decides: sigmoid for one class, softmax for more",
        N,
        "the same",
    ),
    Key(
        CONFIG,
        ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"),
        "the shape",
        H,
        "the weights must fit",
        H,
        "required",
    ),
    Key(CONFIG, ("max_position_embeddings",), "positions", H, "the longest input", H, "required"),
    Key(CONFIG, ("type_vocab_size",), "token types", H, "for BERT 2 if absent", R, "if absent", is_corrected=True),
    Key(
        CONFIG,
        ("hidden_act", "hidden_activation"),
        "the activation",
        H,
        "the family's default if absent; gelu is exact",
        M,
        "candle computes gelu by its tanh approximation; any name except gelu, relu, silu and swiglu is refused;"
        " `up` renames gelu_new and its like to gelu, and swish to silu",
    ),
    Key(
        CONFIG,
        ("layer_norm_eps",),
        "what a norm adds to the variance",
        H,
        "for BERT 1e-12 if absent",
        R,
        "if absent",
        is_corrected=True,
    ),
    Key(CONFIG, ("pad_token_id",), "RoBERTa: the first position", H, "1 if absent", R, "if absent", is_corrected=True),
    Key(
        CONFIG,
        ("position_embedding_type",),
        "how positions enter",
        R,
        "any value except `absolute`, and `alibi` for JinaBERT",
        H,
        "absolute, alibi for JinaBERT, rope for GTE; others are refused",
    ),
    Key(
        CONFIG,
        ("is_decoder", "add_cross_attention"),
        "BERT and its relatives: causal attention, or attention to another text",
        R,
        "any value except false",
        M,
        "not read",
    ),
    Key(CONFIG, ("pruned_heads",), "attention heads that are removed", R, "any heads", M, "not read"),
    Key(
        CONFIG,
        ("quantization_config",),
        "weights of other types",
        R,
        "any; weights in float32, float16 and bfloat16 are read",
        R,
    ),
    Key(
        CONFIG,
        ("dtype", "torch_dtype"),
        "the type of weights in memory",
        N,
        "we read the type that the file has, and compute in float32",
        N,
        "`--dtype` decides; float16 on a GPU",
    ),
    Key(
        CONFIG,
        (
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "classifier_dropout",
            "initializer_range",
            "tie_word_embeddings",
            "use_cache",
            "gradient_checkpointing",
            "transformers_version",
            "_name_or_path",
            "chunk_size_feed_forward",
            "output_attentions",
            "output_hidden_states",
            "return_dict",
            "bos_token_id",
            "eos_token_id",
        ),
        "for training, or for generating text",
        N,
        "",
        R,
        "if BERT or a relative lacks hidden_dropout_prob or initializer_range, or ModernBERT or Qwen3 their token ids",
        is_corrected=True,
    ),
    Key(
        MODULES,
        ("type",),
        "what follows the transformer",
        H,
        "Pooling, Dense, LayerNorm, Dropout, Normalize; LogitScore",
        M,
        "read only to find a Dense, and only if all modules have the class names of before sentence-transformers 6;"
        " else the Dense is left out",
        is_corrected=True,
    ),
    Key(
        MODULES,
        ("path",),
        "where a module is",
        H,
        "any folder below the model's",
        M,
        "read only for a Dense; the pooling is always read from 1_Pooling",
        is_corrected=True,
    ),
    Key(
        MODULES,
        ("idx", "name", "kwargs"),
        "",
        N,
        "",
        M,
        "if idx or name is absent, a Dense is left out",
        is_corrected=True,
    ),
    Key(
        SENTENCE,
        ("max_seq_length",),
        "tokens of the longest input",
        H,
        "at most the number of positions",
        R,
        "if the file is there without it; if it is more than the positions, the process ends",
        is_corrected=True,
    ),
    Key(SENTENCE, ("do_lower_case",), "texts are lowercased first", H, "", M, "not read", is_corrected=True),
    Key(
        SENTENCE,
        ("transformer_task",),
        "the head",
        R,
        "any except feature-extraction, sequence-classification, fill-mask for SPLADE, text-generation for LogitScore",
        M,
        "not read",
    ),
    Key(
        SENTENCE,
        ("modality_config",),
        "which of the model's outputs is taken",
        R,
        "any except the usual outputs, and `message` for pairs",
        M,
        "not read",
    ),
    Key(
        SENTENCE,
        ("module_output_name",),
        "the name of that output",
        R,
        "any value except token_embeddings and scores",
        M,
        "not read",
    ),
    Key(
        SENTENCE,
        (
            "model_args",
            "model_kwargs",
            "config_args",
            "config_kwargs",
            "tokenizer_args",
            "processor_kwargs",
            "processing_kwargs",
            "query_length",
            "document_length",
            "query_expansion",
        ),
        "arguments passed to the libraries",
        R,
        "any value except an empty one",
        M,
        "not read",
    ),
    Key(SENTENCE, ("unpad_inputs",), "how a batch is laid out", N, "", N, "not read"),
    Key(PROMPTS, ("prompts",), "texts before an input, by name", H, "used if the request has `prompt_name`", H),
    Key(
        PROMPTS,
        ("default_prompt_name",),
        "the prompt of a request that names none",
        H,
        "unless the settings name a prompt; refused for a cross-encoder without a place for it in a chat template",
        M,
        "not read; TEI has the flag `--default-prompt-name`",
        is_corrected=True,
    ),
    Key(
        PROMPTS,
        ("truncate_dim",),
        "only the first numbers of a vector",
        H,
        "unless the request has `dimensions`",
        M,
        "not read",
    ),
    Key(PROMPTS, ("max_active_dims",), "how many words' weights SPLADE gives", R, "any except null", M, "not read"),
    Key(
        PROMPTS,
        ("similarity_fn_name", "model_type", "__version__", "requirements", "activation_fn", "keep_in_fp32_modules"),
        "for comparing vectors, and for training",
        N,
        "",
        N,
        "not read",
    ),
    Key(
        POOLING,
        (
            "pooling_mode_cls_token",
            "pooling_mode_mean_tokens",
            "pooling_mode_max_tokens",
            "pooling_mode_mean_sqrt_len_tokens",
            "pooling_mode_weightedmean_tokens",
            "pooling_mode_lasttoken",
        ),
        "the pooling, by the old keys",
        H,
        "at most one may be true; mean if none is",
        M,
        "of two that are true the first counts, cls before mean; max, sqrt and weighted are refused;"
        " the keys of cls and mean must be there (`up` adds them)",
    ),
    Key(
        POOLING,
        ("pooling_mode",),
        "the pooling, by the new key",
        H,
        "one; two are refused",
        R,
        "if the old keys are absent",
        is_corrected=True,
    ),
    Key(
        POOLING,
        ("include_prompt",),
        "whether a prompt's tokens are pooled",
        H,
        "",
        M,
        "not read: the prompt is always pooled",
    ),
    Key(POOLING, ("word_embedding_dimension", "embedding_dimension"), "the width", N, "config.json has it", N),
    Key(DENSE, ("in_features", "out_features"), "the layer's shape", H, "the weights must fit", H, "required"),
    Key(DENSE, ("bias",), "whether the layer has a bias", H, "true if absent", R, "if absent", is_corrected=True),
    Key(
        DENSE,
        ("activation_function",),
        "the layer's activation",
        H,
        "Identity, Tanh, ReLU, SiLU; others are refused",
        M,
        "if absent TEI takes Identity, the library Tanh (`up` writes Tanh); other activations are refused",
    ),
    Key(DENSE, ("use_residual",), "the layer's input is added to its output", H, "", M, "not read"),
    Key(
        DENSE,
        ("module_input_name", "module_output_name"),
        "what the layer works on",
        R,
        "any value except sentence_embedding",
        M,
        "not read",
    ),
    Key(
        NORMALIZE,
        ("module_input_name", "module_output_name"),
        "what is normalised",
        R,
        "any value except sentence_embedding",
        M,
        "not read; the request's `normalize` decides",
    ),
    Key(
        SPLADE,
        ("pooling_strategy",),
        "how the weights of a text's tokens are joined",
        R,
        "any value except max",
        M,
        "not read",
    ),
    Key(SPLADE, ("activation_function",), "the activation of the weights", R, "any value except relu", M, "not read"),
    Key(SPLADE, ("embedding_dimension", "word_embedding_dimension"), "the width", N, "", N),
    Key(
        TOKENIZER_CONFIG,
        ("model_max_length", "max_len"),
        "tokens of the longest input",
        H,
        "if `max_seq_length` is absent; at most the number of positions",
        M,
        "not read: TEI takes the number of positions",
        is_corrected=True,
    ),
    Key(
        TOKENIZER_CONFIG,
        ("do_lower_case", "strip_accents", "tokenize_chinese_chars"),
        "how BERT and its relatives normalise a text",
        H,
        "if stated, they override tokenizer.json",
        M,
        "not read: tokenizer.json decides",
        is_corrected=True,
    ),
    Key(
        TOKENIZER_CONFIG,
        ("add_prefix_space",),
        "RoBERTa: a space before the first word",
        H,
        "if stated, it overrides tokenizer.json",
        M,
        "not read: tokenizer.json decides",
        is_corrected=True,
    ),
    Key(
        TOKENIZER_CONFIG,
        ("model_input_names",),
        "whether the model gets token types",
        H,
        "",
        M,
        "not read: TEI always gives them",
    ),
    Key(
        TOKENIZER_CONFIG,
        ("truncation_side",),
        "where a long text is cut",
        R,
        "any value except right",
        M,
        "the request decides",
    ),
    Key(
        TOKENIZER_CONFIG,
        ("split_special_tokens",),
        "special tokens in a text are split as ordinary text",
        R,
        "any value except false",
        M,
        "not read",
    ),
    Key(
        TOKENIZER_CONFIG,
        ("fast_tokenizer_files",),
        "another tokenizer.json",
        R,
        "any name except tokenizer.json",
        M,
        "not read",
    ),
    Key(
        TOKENIZER_CONFIG,
        ("additional_special_tokens", "bos_token", "eos_token", "pad_token", "mask_token"),
        "words of the vocabulary that are one token wherever they stand",
        H,
        "",
        M,
        "read from tokenizer.json alone",
        is_corrected=True,
    ),
    Key(
        TOKENIZER_CONFIG,
        ("tokenizer_class", "cls_token", "sep_token", "unk_token", "added_tokens_decoder", "keep_accents"),
        "how a slow tokenizer's files are read",
        H,
        "if there is no tokenizer.json, which has its own; `TokenizersBackend` gives no token types",
        R,
        "if there is no tokenizer.json",
        is_corrected=True,
    ),
    Key(
        TOKENIZER_CONFIG,
        ("padding_side", "chat_template", "clean_up_tokenization_spaces", "add_bos_token", "add_eos_token"),
        "padding, chats, generating text",
        N,
        "tokenizer.json says which tokens are put around a text; exceptions: `chat_template` for generative rerankers,"
        " `add_eos_token` for tokenizers with code of their own",
        N,
    ),
    Key(
        TOKENIZER, ("truncation", "padding"), "for the library's own batches", N, "the length of each input decides", N
    ),
    Key(TOKENIZER, ("post_processor",), "special tokens and token types", H, "also null", H),
    Key(
        SPECIAL,
        ("cls_token", "sep_token", "unk_token"),
        "for slow tokenizers' files",
        H,
        "read if there is no tokenizer.json",
        R,
        "if there is no tokenizer.json",
        is_corrected=True,
    ),
    Key(
        ADDED,
        (),
        "for slow tokenizers' files",
        H,
        "read if there is no tokenizer.json",
        R,
        "if there is no tokenizer.json",
        is_corrected=True,
    ),
    Key(
        ADAPTER,
        (),
        "an adapter beside the weights (PEFT)",
        R,
        "any; merge it into the weights first",
        M,
        "not read: the adapter is left out",
    ),
)
