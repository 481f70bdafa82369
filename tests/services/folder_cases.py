"""Cases of model folders that users have, by name."""

import json
import shutil
from pathlib import Path

from embedfleet.engine.families.registry import MODEL_TYPES
from embedfleet.model_folder import file_names
from tests.services.folders import FAMILIES, POSITIONS, Case, Folders, as_bin, as_shards, change, link_away
from tests.services.slow_tokenizers import write_json

CLASSIFIERS = ("bert", "distilbert", "mpnet", "roberta", "xlm-roberta", "camembert", "modernbert", "gte", "qwen3")
SPARSE = ("bert", "distilbert", "roberta")
POOLINGS = ("cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
OLD_FLAGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
PROMPTS = {"query": "green river: ", "document": ""}
SLOW = ("tokenizer.json",)


def old(folder: Path, pooling: str = "mean", length: int = 32) -> None:
    """Rewrite a folder as sentence-transformers wrote it before version 6."""
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": length, "do_lower_case": False})
    flags = dict.fromkeys(OLD_FLAGS.values(), False) | {"pooling_mode_mean_tokens": pooling == "mean"}
    flags |= {OLD_FLAGS[pooling]: True} if pooling in OLD_FLAGS else {}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **flags})


def embedder(*changes, **options):
    """Make a BERT embedder with a changed folder."""

    def make(folders: Folders, folder: Path) -> None:
        folders.embedder(folder, **options)
        for apply in changes:
            apply(folder)

    return make


def reranker(*changes, **options):
    """Make a BERT reranker with a changed folder."""

    def make(folders: Folders, folder: Path) -> None:
        folders.reranker(folder, **options)
        for apply in changes:
            apply(folder)

    return make


def set_keys(file: str, without: tuple[str, ...] = (), **values):
    """Make a function that changes keys of a JSON file."""
    return lambda folder: change(folder / file, without, **values)


def layered(*names, **options):
    """Make an embedder with layers after the pooling."""

    def make(folders: Folders, folder: Path) -> None:
        import torch
        from sentence_transformers.sentence_transformer import modules

        torch.manual_seed(2)
        made = {
            "dense": lambda: modules.Dense(32, 24),
            "plain": lambda: modules.Dense(32, 16, bias=False, activation_function=torch.nn.Identity()),
            "residual": lambda: modules.Dense(32, 32, activation_function=torch.nn.ReLU(), use_residual=True),
            "norm": lambda: _norm(torch, modules),
            "dropout": lambda: modules.Dropout(0.5),
            "length": modules.Normalize,
        }
        folders.embedder(folder, steps=[made[name]() for name in names], **options)

    return make


def _norm(torch, modules):
    norm = modules.LayerNorm(32)
    torch.nn.init.normal_(norm.norm.weight)
    torch.nn.init.normal_(norm.norm.bias)
    return norm


def saved(model_type: str, labels: int = 0, *changes):
    """Make a folder that transformers alone saved."""

    def make(folders: Folders, folder: Path) -> None:
        shutil.copytree(folders.body(model_type, labels), folder)
        for apply in changes:
            apply(folder)

    return make


def slow(name: str, make, **settings):
    """Make a folder with a slow tokenizer's files instead of tokenizer.json."""

    def wrapped(folders: Folders, folder: Path) -> None:
        make(folders, folder)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (folder / file).unlink()
        for file in folders.slow(name).iterdir():
            if file.name != "config.json":
                shutil.copy(file, folder)
        write_json(folder / "tokenizer_config.json", {"model_max_length": POSITIONS} | settings)

    return wrapped


def family(model_type: str):
    return lambda folders, folder: folders.embedder(folder, model_type)


def ranking(model_type: str, labels: int = 1):
    return lambda folders, folder: folders.reranker(folder, model_type, labels)


def move_pooling(folder: Path) -> None:
    (folder / "parts").mkdir()
    (folder / "1_Pooling").rename(folder / "parts" / "pooling")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = "parts/pooling"
    write_json(folder / "modules.json", modules)


def move_transformer(folder: Path) -> None:
    """Move the transformer's files to the folder of sentence-transformers before version 2."""
    home = folder / "0_Transformer"
    home.mkdir()
    for file in [file for file in folder.iterdir() if file.is_file() and file.name != "modules.json"]:
        if file.name != "config_sentence_transformers.json":
            file.rename(home / file.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    write_json(folder / "modules.json", modules)


def drop_post_processor(folder: Path) -> None:
    change(folder / "tokenizer.json", post_processor=None)
    names = ["input_ids", "token_type_ids", "attention_mask"]
    change(folder / "tokenizer_config.json", tokenizer_class="TokenizersBackend", model_input_names=names)


def as_hub(folder: Path) -> None:
    """Rearrange a folder as in the hub's cache, where each file is a link to a blob."""
    for name in ("*", "1_Pooling/*"):
        link_away(folder, *[str(file.relative_to(folder)) for file in folder.glob(name) if file.is_file()])


def no_prompt(pooling: str, prompt: str | None, **options) -> Case:
    make = embedder(pooling=pooling, include_prompt=False, prompts=PROMPTS, **options)
    return Case(make, prompt=prompt, base=f"pooled with its prompt, {pooling}" if pooling in {"mean", "max"} else "")


CASES: dict[str, Case] = {
    **{f"{name} embedder": Case(family(name)) for name in FAMILIES if name in MODEL_TYPES},
    **{f"{name} reranker": Case(ranking(name), "rerank") for name in CLASSIFIERS},
    **{f"{name} splade": Case(lambda f, to, name=name: f.sparse(to, name), "sparse") for name in SPARSE},
    **{f"pooling {name}": Case(embedder(pooling=name), base="bert embedder") for name in POOLINGS},
    **{
        f"old pooling {name}": Case(
            embedder(lambda folder, name=name: old(folder, name)),
            base="old layout",
            keys=((file_names.POOLING_CONFIG, OLD_FLAGS[name]),),
        )
        for name in POOLINGS
    },
    "old layout": Case(
        embedder(old), base="bert embedder", keys=((file_names.SENTENCE_BERT_CONFIG, "max_seq_length"),)
    ),
    "old layout, no pooling true": Case(embedder(lambda folder: old(folder, "none"))),
    "pooling elsewhere": Case(
        embedder(move_pooling, pooling="max"), base="bert embedder", keys=((file_names.MODULES, "path"),)
    ),
    "transformer in a folder of its own": Case(embedder(old, move_transformer)),
    "dense": Case(
        layered("dense"),
        base="bert embedder",
        keys=((file_names.MODULES, "type"), (file_names.DENSE_CONFIG, "out_features")),
    ),
    "dense and length": Case(layered("dense", "length"), of_length_one=True),
    "dense, length, dense": Case(layered("residual", "length", "plain"), keys=((file_names.DENSE_CONFIG, "bias"),)),
    "dense, another activation": Case(
        lambda folders, folder: (
            layered("dense")(folders, folder),
            change(folder / "2_Dense" / "config.json", activation_function="torch.nn.modules.activation.ReLU"),
        ),
        base="dense",
        keys=((file_names.DENSE_CONFIG, "activation_function"),),
    ),
    "residual": Case(
        layered("residual"), keys=((file_names.DENSE_CONFIG, "in_features"), (file_names.DENSE_CONFIG, "use_residual"))
    ),
    "norm and dropout": Case(layered("norm", "dropout")),
}
CASES |= {
    "length of the tokenizer": Case(
        embedder(set_keys(file_names.TOKENIZER_CONFIG, model_max_length=16)),
        base="bert embedder",
        keys=((file_names.TOKENIZER_CONFIG, "model_max_length"),),
    ),
    "length by its old name": Case(
        embedder(set_keys(file_names.TOKENIZER_CONFIG, without=("model_max_length",), max_len=14)),
        base="bert embedder",
        keys=((file_names.TOKENIZER_CONFIG, "max_len"),),
    ),
    "no length": Case(embedder(set_keys(file_names.TOKENIZER_CONFIG, model_max_length=int(1e30)))),
    "length among arguments": Case(
        embedder(set_keys(file_names.SENTENCE_BERT_CONFIG, tokenizer_args={"model_max_length": 12}))
    ),
    "length of a reranker": Case(
        reranker(set_keys(file_names.TOKENIZER_CONFIG, model_max_length=20)), "rerank", "bert reranker"
    ),
    "lowered first": Case(
        slow("bert", embedder(set_keys(file_names.SENTENCE_BERT_CONFIG, do_lower_case=True)), do_lower_case=False),
        base="vocab.txt, cased",
        keys=((file_names.SENTENCE_BERT_CONFIG, "do_lower_case"),),
    ),
    "cased by the settings": Case(
        embedder(set_keys(file_names.TOKENIZER_CONFIG, do_lower_case=False)),
        base="bert embedder",
        keys=((file_names.TOKENIZER_CONFIG, "do_lower_case"),),
    ),
    "accents kept by the settings": Case(
        embedder(set_keys(file_names.TOKENIZER_CONFIG, strip_accents=False)),
        base="bert embedder",
        keys=((file_names.TOKENIZER_CONFIG, "strip_accents"),),
    ),
    "chinese as words by the settings": Case(
        embedder(set_keys(file_names.TOKENIZER_CONFIG, tokenize_chinese_chars=False)),
        base="bert embedder",
        keys=((file_names.TOKENIZER_CONFIG, "tokenize_chinese_chars"),),
    ),
    "a blank first by the settings": Case(
        embedder(set_keys(file_names.TOKENIZER_CONFIG, add_prefix_space=True), model_type="roberta"),
        base="roberta embedder",
        keys=((file_names.TOKENIZER_CONFIG, "add_prefix_space"),),
    ),
    "a word that is special": Case(
        embedder(set_keys(file_names.TOKENIZER_CONFIG, additional_special_tokens=["s"], mask_token="g")),
        base="bert embedder",
        keys=((file_names.TOKENIZER_CONFIG, "additional_special_tokens"),),
    ),
    "a word that is special, of a decoder": Case(
        embedder(set_keys(file_names.TOKENIZER_CONFIG, additional_special_tokens=["s"]), model_type="llama"),
        base="llama embedder",
    ),
    "no token types": Case(
        reranker(set_keys(file_names.TOKENIZER_CONFIG, model_input_names=["input_ids", "attention_mask"])),
        "rerank",
        "bert reranker",
        ((file_names.TOKENIZER_CONFIG, "model_input_names"),),
    ),
    "no token types by the general class": Case(
        reranker(set_keys(file_names.TOKENIZER_CONFIG, ("model_input_names",), tokenizer_class="TokenizersBackend")),
        "rerank",
        "bert reranker",
        ((file_names.TOKENIZER_CONFIG, "tokenizer_class"),),
    ),
    "no post-processor": Case(
        reranker(drop_post_processor), "rerank", "bert reranker", ((file_names.TOKENIZER, "post_processor"),)
    ),
    "vocab.txt": Case(slow("bert", family("bert"))),
    "vocab.txt, cased": Case(slow("bert", family("bert"), do_lower_case=False), base="vocab.txt"),
    "vocab.txt of mpnet": Case(slow("mpnet", family("mpnet"))),
    "vocab.json": Case(slow("roberta", family("roberta"))),
    "vocab.json of a reranker": Case(slow("roberta", ranking("roberta")), "rerank"),
    "sentencepiece of xlm-roberta": Case(slow("xlm-roberta", ranking("xlm-roberta")), "rerank"),
    "sentencepiece of camembert": Case(slow("camembert", family("camembert"))),
    "a prompt that is asked for": Case(
        embedder(prompts=PROMPTS),
        base="bert embedder",
        keys=((file_names.SENTENCE_TRANSFORMERS_CONFIG, "prompts"),),
        prompt="query",
    ),
    "a default prompt": Case(
        embedder(prompts=PROMPTS, default_prompt_name="query"),
        base="bert embedder",
        keys=((file_names.SENTENCE_TRANSFORMERS_CONFIG, "default_prompt_name"),),
    ),
    "pooled with its prompt, mean": Case(embedder(prompts=PROMPTS), prompt="query"),
    "pooled with its prompt, max": Case(embedder(prompts=PROMPTS, pooling="max"), prompt="query"),
    **{f"pooled without its prompt, {name}": no_prompt(name, "query") for name in ("mean", *POOLINGS)},
    "pooled without its default prompt": no_prompt("mean", None, default_prompt_name="query"),
    "no prompt, none to leave out": no_prompt("mean", None),
    "fewer numbers": Case(embedder(truncate_dim=12), keys=((file_names.SENTENCE_TRANSFORMERS_CONFIG, "truncate_dim"),)),
    "two labels": Case(saved("bert", 2, set_keys(file_names.CONFIG, without=("id2label", "label2id"))), "predict"),
    "three labels by their number": Case(
        saved("bert", 3, set_keys(file_names.CONFIG, without=("id2label", "label2id"), num_labels=3)), "predict"
    ),
    "one label by its number": Case(
        saved("roberta", 1, set_keys(file_names.CONFIG, without=("id2label", "label2id"), num_labels=1)), "rerank"
    ),
    "a head that is not named": Case(
        saved("bert", 1, set_keys(file_names.CONFIG, without=("architectures",))), "rerank"
    ),
    "a head under the bare model's name": Case(
        saved("roberta", 1, set_keys(file_names.CONFIG, architectures=["RobertaModel"])), "rerank"
    ),
    "linked weights": Case(embedder(lambda folder: link_away(folder, "model.safetensors"))),
    "the hub's cache": Case(embedder(as_hub)),
    "the hub's cache, a reranker": Case(reranker(as_hub), "rerank"),
    "a linked layer": Case(lambda folders, folder: (layered("dense")(folders, folder), link_away(folder, "2_Dense/*"))),
    "torch's file": Case(embedder(as_bin)),
    "torch's file, linked": Case(reranker(as_bin, lambda folder: link_away(folder, "*.bin")), "rerank"),
    "shards": Case(embedder(as_shards)),
    "shards, linked": Case(embedder(as_shards, lambda folder: link_away(folder, "*.safetensors*"))),
    "torch's shards": Case(embedder(lambda folder: as_shards(folder, as_bin=True))),
    "bert by its defaults": Case(
        embedder(
            set_keys(
                file_names.CONFIG,
                without=("hidden_act", "layer_norm_eps", "type_vocab_size", "pad_token_id", "hidden_dropout_prob"),
            )
        )
    ),
    "roberta by its defaults": Case(
        embedder(
            set_keys(file_names.CONFIG, without=("hidden_act", "pad_token_id", "initializer_range")),
            model_type="roberta",
        )
    ),
    "another activation": Case(
        embedder(set_keys(file_names.CONFIG, hidden_act="relu")),
        base="bert embedder",
        keys=((file_names.CONFIG, "hidden_act"),),
    ),
    "another epsilon": Case(
        embedder(set_keys(file_names.CONFIG, layer_norm_eps=0.5)),
        base="bert embedder",
        keys=((file_names.CONFIG, "layer_norm_eps"),),
    ),
    "another first position": Case(
        embedder(
            set_keys(file_names.CONFIG, pad_token_id=3),  # the id of <unk>, which no text has
            set_keys(file_names.TOKENIZER_CONFIG, model_max_length=60),
            model_type="roberta",
        ),
        base="roberta embedder",
        keys=((file_names.CONFIG, "pad_token_id"),),
    ),
}
