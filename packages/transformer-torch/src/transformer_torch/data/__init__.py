"""Text: files, tokenizers, batches, and a synthetic task."""
