"""Decoding: the key-value cache, greedy and beam search, and the translator."""
