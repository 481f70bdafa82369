"""The gateway's cache of answers: each text's answer is kept, and equal texts under way are computed once."""
