"""The names of sentence-transformers' file about the transformer: ``sentence_bert_config.json`` and its older kin."""

LENGTH_FILES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
"""By the age and the family of the folder; the first that is there counts, as in TEI's ``download.rs``."""
