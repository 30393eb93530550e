"""Trainings whose results are recorded. CPU times are sums over the cores of the machine that RESULTS.md names."""

from __future__ import annotations

from dataclasses import replace

from lets_build_gpt.config import TrainConfig

BASE = TrainConfig(activation="gelu", weight_decay=0.1, bias=False, tie_embeddings=True)

RECIPES: dict[str, tuple[TrainConfig, str]] = {
    "nanogpt-cpu": (
        replace(BASE, out="runs/nanogpt-cpu", context_length=64, batch_size=12, tokens=1_536_000),
        "nanoGPT's CPU budget: 0.80 M parameters, context 64, 1,536,000 tokens. 2.5 CPU-minutes, 0.6 GB.",
    ),
    "cpu-3min": (
        replace(BASE, out="runs/cpu-3min", context_length=128, h=2, tokens=2_600_000, evaluations=2),
        "The best known here within 3 CPU-minutes: 0.81 M parameters, context 128. 0.7 GB.",
    ),
    "cpu-15min": (
        replace(
            BASE,
            out="runs/cpu-15min",
            context_length=128,
            d_model=192,
            h=3,
            tokens=10_600_000,
            dropout=0.15,
            attention_dropout=0.0,
        ),
        "The best known here within 15 CPU-minutes of a CPU with fast bfloat16: 1.8 M parameters, context 128. 0.9 GB.",
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
