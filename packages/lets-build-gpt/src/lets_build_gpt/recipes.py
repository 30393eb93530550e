"""Trainings whose results are recorded. CPU times are sums over the cores of the machine that RESULTS.md names."""

from __future__ import annotations

from dataclasses import replace

from lets_build_gpt.config import TrainConfig

BASE = TrainConfig(activation="gelu", weight_decay=0.1, bias=False, tie_embeddings=True)

RECIPES: dict[str, tuple[TrainConfig, str]] = {
    "nanogpt-cpu": (
        replace(
            BASE,
            out="runs/nanogpt-cpu",
            context_length=64,
            batch_size=12,
            tokens=1_536_000,
            weight_decay=0.01,
        ),
        "nanoGPT's CPU budget: 0.80 M parameters, context 64, 1,536,000 tokens. 1.3 CPU-minutes in bfloat16, 0.6 GB.",
    ),
    "cpu-3min": (
        replace(BASE, out="runs/cpu-3min", context_length=128, h=2, tokens=3_200_000, evaluations=2),
        "0.81 M parameters, context 128. 1.7 CPU-minutes in bfloat16, 3 in float32; 0.7 GB.",
    ),
    "cpu-15min": (
        replace(
            BASE,
            out="runs/cpu-15min",
            context_length=128,
            d_model=192,
            h=3,
            tokens=7_500_000,
            dropout=0.1,
            attention_dropout=0.0,
        ),
        "1.8 M parameters, context 128. 8.5 CPU-minutes in bfloat16, 15 in float32; 0.9 GB.",
    ),
    "gpu": (
        TrainConfig(
            out="runs/gpu",
            context_length=256,
            d_model=384,
            h=6,
            n_layers=6,
            dropout=0.2,
            activation="gelu",
            tie_embeddings=True,
            batch_size=64,
            tokens=5000 * 64 * 256,
            optimizer="adamw",
            lr=1e-3,
            weight_decay=0.1,
            warmup=0.02,
            evaluations=20,
        ),
        "nanoGPT's GPU configuration: 10.6 M parameters, context 256, 82 M tokens. For a GPU; not run yet.",
    ),
}

DEMO = replace(
    BASE,
    out="runs/demo",
    context_length=64,
    d_model=96,
    h=4,
    n_layers=3,
    tokens=1_200_000,
    evaluations=4,
    checkpoints=1,
)
