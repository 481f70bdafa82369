"""The model folders of a fleet, as control reads them: the kind of a folder and the digest of its weights."""
