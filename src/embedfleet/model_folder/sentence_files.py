"""The names of sentence-transformers' file about the transformer: ``sentence_bert_config.json`` and older names."""

LENGTH_FILES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
"""They differ by age and family of the folder. The first that is there counts, as in TEI's ``download.rs``."""
