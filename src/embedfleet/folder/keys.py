"""What each key of a model folder means, and what becomes of it: in our engine, and in TEI.

The keys are those that transformers 5.23 and sentence-transformers 6.2 read of a text model. Each is one of three for
our engine: honoured as the libraries honour it, harmless, or refused by file and key. The documents print this table,
and a test holds it.
"""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What becomes of a key's value."""

    HONOURED = "honoured"
    HARMLESS = "harmless"  # no number that is served depends on it
    REFUSED = "refused"  # any value but the one that is said in the note
    MISREAD = "misread"  # of TEI alone: passed over, though the numbers depend on it


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
        file: by its usual name; a module's folder may have another.
        keys: in it; none stands for the file as a whole.
        meaning: what it changes.
        engine: what becomes of it in our engine.
        note: how; of what is refused, what is not.
        tei: what becomes of it in TEI 1.9.3.
        tei_note: how.
    """

    file: str
    keys: tuple[str, ...]
    meaning: str
    engine: Verdict
    note: str
    tei: Verdict
    tei_note: str = ""


KEYS = (
    Key(CONFIG, ("model_type",), "the family", H, "those of the list above", H, "a list of its own"),
    Key(
        CONFIG,
        ("architectures",),
        "the model's head, so what it is used for",
        H,
        "without a name, or with the bare model's, the head that the weights have",
        R,
        "if absent; with the bare model's name the head is left out",
    ),
    Key(
        CONFIG,
        ("auto_map",),
        "code that comes with the model",
        R,
        "any that is not named after a family of ours; none is run",
        N,
    ),
    Key(CONFIG, ("id2label",), "names of classes, and how many", H, "", R, "if a classifier lacks it"),
    Key(
        CONFIG,
        ("num_labels",),
        "how many classes, without `id2label`",
        H,
        "2 if neither is there",
        M,
        "read of ModernBERT alone, 1 if absent",
    ),
    Key(CONFIG, ("label2id",), "for training", N, "", R, "if a classifier lacks it"),
    Key(CONFIG, ("problem_type",), "for training", N, "", N, "not read"),
    Key(
        CONFIG,
        ("sbert_ce_default_activation_function", "sentence_transformers"),
        "what a cross-encoder's scores go through",
        N,
        "the request decides (`raw_scores`): sigmoid of one class, softmax of more",
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
    Key(CONFIG, ("type_vocab_size",), "token types", H, "2 of BERT if absent", R, "if absent"),
    Key(
        CONFIG,
        ("hidden_act", "hidden_activation"),
        "the activation",
        H,
        "the family's own if absent; gelu is exact",
        M,
        "gelu is computed by its tanh approximation on candle; but gelu, relu and silu are refused",
    ),
    Key(CONFIG, ("layer_norm_eps",), "what a norm adds to the variance", H, "1e-12 of BERT if absent", R, "if absent"),
    Key(CONFIG, ("pad_token_id",), "RoBERTa: the first position", H, "1 if absent", R, "if absent"),
    Key(
        CONFIG,
        ("position_embedding_type",),
        "how places enter",
        R,
        "any but `absolute`, and `alibi` of JinaBERT",
        H,
        "absolute, alibi of JinaBERT, rope of GTE; others are refused",
    ),
    Key(
        CONFIG,
        ("is_decoder", "add_cross_attention"),
        "BERT's kin: attention looks back alone, or at another text",
        R,
        "any but false",
        M,
        "not read",
    ),
    Key(CONFIG, ("pruned_heads",), "heads that are left out", R, "any but none", M, "not read"),
    Key(CONFIG, ("quantization_config",), "weights of other types", R, "float32, float16, bfloat16 are read", R),
    Key(
        CONFIG,
        ("dtype", "torch_dtype"),
        "the type of weights in memory",
        N,
        "we compute in float32 what the file holds",
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
        "for training, or for text that is written",
        N,
        "",
        R,
        "BERT's kin without hidden_dropout_prob or initializer_range, ModernBERT and Qwen3 without their tokens' ids",
    ),
    Key(
        MODULES,
        ("type",),
        "what follows the transformer",
        H,
        "Pooling, Dense, LayerNorm, Dropout, Normalize; LogitScore",
        M,
        "for a Dense alone, by the names of before sentence-transformers 6; with any other name there is none",
    ),
    Key(
        MODULES,
        ("path",),
        "where a module is",
        H,
        "any folder below the model's",
        M,
        "of a Dense alone; the pooling is in 1_Pooling",
    ),
    Key(MODULES, ("idx", "name", "kwargs"), "", N, "", M, "without idx or name no Dense is computed"),
    Key(
        SENTENCE,
        ("max_seq_length",),
        "tokens of the longest input",
        H,
        "the positions at most",
        R,
        "if the file is there without it; beyond the positions it ends",
    ),
    Key(SENTENCE, ("do_lower_case",), "texts are lowered first", H, "", M, "not read"),
    Key(
        SENTENCE,
        ("transformer_task",),
        "the head",
        R,
        "any but feature-extraction, fill-mask of SPLADE, sequence-classification, text-generation of LogitScore",
        M,
        "not read",
    ),
    Key(
        SENTENCE,
        ("modality_config",),
        "which of the model's outputs is taken",
        R,
        "any but the usual ones, and `message` of pairs",
        M,
        "not read",
    ),
    Key(SENTENCE, ("module_output_name",), "its name", R, "any but token_embeddings and scores", M, "not read"),
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
        "arguments of the libraries",
        R,
        "any but empty",
        M,
        "not read",
    ),
    Key(SENTENCE, ("unpad_inputs",), "how a batch is laid out", N, "", N, "not read"),
    Key(PROMPTS, ("prompts",), "texts before an input, by name", H, "as `prompt_name` asks", H),
    Key(
        PROMPTS,
        ("default_prompt_name",),
        "the prompt where none is asked for",
        H,
        "unless the settings state one; a cross-encoder with one is refused, unless it has a chat template for it",
        M,
        "not read; `--default-prompt-name`",
    ),
    Key(PROMPTS, ("truncate_dim",), "only the first numbers of a vector", H, "unless `dimensions` asks", M, "not read"),
    Key(PROMPTS, ("max_active_dims",), "how many words' weights SPLADE gives", R, "any but null", M, "not read"),
    Key(
        PROMPTS,
        ("similarity_fn_name", "model_type", "__version__", "requirements", "activation_fn", "keep_in_fp32_modules"),
        "for who compares, and for training",
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
        "the pooling, as it was written before",
        H,
        "one at most; mean if none is true",
        M,
        "two are taken for cls; max, sqrt and weighted are refused; the first two must be there",
    ),
    Key(POOLING, ("pooling_mode",), "the pooling", H, "one; two are refused", R, "the old names are required"),
    Key(POOLING, ("include_prompt",), "whether a prompt's tokens are pooled", H, "", M, "not read: they are"),
    Key(POOLING, ("word_embedding_dimension", "embedding_dimension"), "the width", N, "config.json has it", N),
    Key(DENSE, ("in_features", "out_features"), "the layer's shape", H, "the weights must fit", H, "required"),
    Key(DENSE, ("bias",), "whether it has one", H, "true if absent", R, "if absent"),
    Key(
        DENSE,
        ("activation_function",),
        "what the layer's numbers go through",
        H,
        "Identity, Tanh, ReLU, SiLU; others are refused",
        M,
        "Identity if absent, of the library Tanh; but these two are refused",
    ),
    Key(DENSE, ("use_residual",), "what comes in is added", H, "", M, "not read"),
    Key(
        DENSE,
        ("module_input_name", "module_output_name"),
        "what the layer works on",
        R,
        "any but sentence_embedding",
        M,
        "not read",
    ),
    Key(
        NORMALIZE,
        ("module_input_name", "module_output_name"),
        "what is brought to length one",
        R,
        "any but sentence_embedding",
        M,
        "not read; the request's `normalize` decides",
    ),
    Key(SPLADE, ("pooling_strategy",), "how a text's words join", R, "any but max", M, "not read"),
    Key(SPLADE, ("activation_function",), "what words go through", R, "any but relu", M, "not read"),
    Key(SPLADE, ("embedding_dimension", "word_embedding_dimension"), "the width", N, "", N),
    Key(
        TOKENIZER_CONFIG,
        ("model_max_length", "max_len"),
        "tokens of the longest input",
        H,
        "where `max_seq_length` is not stated; the positions at most",
        M,
        "not read: the positions",
    ),
    Key(
        TOKENIZER_CONFIG,
        ("do_lower_case", "strip_accents", "tokenize_chinese_chars"),
        "how BERT's kin split a text",
        H,
        "over what tokenizer.json says, if they are stated",
        M,
        "tokenizer.json alone",
    ),
    Key(
        TOKENIZER_CONFIG,
        ("add_prefix_space",),
        "RoBERTa: a blank before the first word",
        H,
        "over what tokenizer.json says, if it is stated",
        M,
        "tokenizer.json alone",
    ),
    Key(TOKENIZER_CONFIG, ("model_input_names",), "whether token types are given", H, "", M, "not read: they are"),
    Key(
        TOKENIZER_CONFIG, ("truncation_side",), "where a long text is cut", R, "any but right", M, "the request decides"
    ),
    Key(TOKENIZER_CONFIG, ("split_special_tokens",), "special words are words", R, "any but false", M, "not read"),
    Key(
        TOKENIZER_CONFIG,
        ("fast_tokenizer_files",),
        "another tokenizer.json",
        R,
        "any but tokenizer.json",
        M,
        "not read",
    ),
    Key(
        TOKENIZER_CONFIG,
        ("additional_special_tokens", "bos_token", "eos_token", "pad_token", "mask_token"),
        "words of the vocabulary that are special wherever they stand",
        H,
        "",
        M,
        "tokenizer.json alone",
    ),
    Key(
        TOKENIZER_CONFIG,
        ("tokenizer_class", "cls_token", "sep_token", "unk_token", "added_tokens_decoder", "keep_accents"),
        "of slow files, what they mean",
        H,
        "without tokenizer.json, which has its own; `TokenizersBackend` gives no token types",
        R,
        "without tokenizer.json",
    ),
    Key(
        TOKENIZER_CONFIG,
        ("padding_side", "chat_template", "clean_up_tokenization_spaces", "add_bos_token", "add_eos_token"),
        "batches, chats, text that is written",
        N,
        "tokenizer.json has what stands around a text; but for rerankers that generate, and a tokenizer's own code",
        N,
    ),
    Key(TOKENIZER, ("truncation", "padding"), "of the library alone", N, "an input's own length decides", N),
    Key(TOKENIZER, ("post_processor",), "special tokens and token types", H, "null too", H),
    Key(
        SPECIAL, ("cls_token", "sep_token", "unk_token"), "of slow files", H, "without tokenizer.json", R, "without it"
    ),
    Key(ADDED, (), "of slow files", H, "without tokenizer.json", R, "without it"),
    Key(ADAPTER, (), "weights beside the weights (PEFT)", R, "merge them first", M, "not read: left out"),
)
