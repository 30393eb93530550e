"""Throughput of training: FLOPs of a token, and the peak matmul rate of a device."""

from __future__ import annotations

import time

import torch

from gpt2.model import GPT2


def flops_per_token(model: GPT2, context_length: int) -> float:
    """Return the FLOPs of forward and backward pass: 6 per multiplied weight, and 12 layers d_model per attended token.

    The head counts even when tied, the two embeddings do not. Causal attention is counted in full, as is usual.
    """
    c = model.config
    weights = sum(p.numel() for p in model.h.parameters()) + c.vocab_size * c.d_model
    return 6.0 * weights + 12.0 * c.n_layers * c.d_model * context_length


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """Return the FLOP/s that large matmuls reach on a device; a run's utilization (MFU) is a share of it."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def seconds() -> float:
        float((a @ b)[0, 0])  # waits for earlier work of the device
        start = time.perf_counter()
        float((a @ b)[0, 0])
        return time.perf_counter() - start

    return 2 * size**3 / min(seconds() for _ in range(5))
