"""Reading of requests and writing of replies, one file per dialect."""
