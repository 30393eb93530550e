"""Generation: the key-value cache, sampling, text streaming, and small weights for decoding."""
