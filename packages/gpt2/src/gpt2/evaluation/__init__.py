"""Evaluation: perplexity and the paper's zero-shot benchmarks."""
