"""Data: tokenizers, token files, and the batches that training reads."""
