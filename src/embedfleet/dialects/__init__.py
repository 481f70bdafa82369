"""HTTP vocabularies: bodies to records and results to bodies, without any I/O."""
