"""Training recipes. RESULTS.md has the recorded results of the CPU recipes."""

from __future__ import annotations

from dataclasses import dataclass

from lets_build_gpt.config import ModelConfig, OptimConfig, TrainConfig, steps_for


@dataclass(frozen=True)
class Recipe:
    """A named training configuration.

    description: size, duration and memory. Times are CPU-minutes on one core of the machine that RESULTS.md names.
    data: the text that the recorded results were measured on, as `load_text` names it. `train` does not read it: the
    text is an option.
    """

    name: str
    description: str
    model: ModelConfig
    optim: OptimConfig
    train: TrainConfig
    data: str | None = None


def _small(
    context_length: int, d_model: int, n_heads: int, dropout: float = 0.0, attention_dropout: float | None = None
) -> ModelConfig:
    """Return the model of the CPU recipes: four layers, GELU, no biases, tied embeddings."""
    return ModelConfig(
        context_length,
        d_model,
        n_heads,
        n_layers=4,
        dropout=dropout,
        attention_dropout=attention_dropout,
        activation="gelu",
        bias=False,
        tie_embeddings=True,
    )


_ALL = (
    Recipe(
        "nanogpt-cpu",
        "nanoGPT's CPU budget: 0.80 M parameters, context 64, 1.5 M tokens. 1.3 CPU-min in bfloat16; 0.6 GB.",
        _small(64, 128, 4),
        OptimConfig(weight_decay=0.01),
        TrainConfig(batch_size=12, steps=steps_for(1_536_000, 12, 64), eval_every=500, checkpoint_every=250),
        "shakespeare",
    ),
    Recipe(
        "cpu-3min",
        "0.81 M parameters, context 128, 3.2 M tokens. 1.7 CPU-min in bfloat16, 3 in float32; 0.7 GB.",
        _small(128, 128, 2),
        OptimConfig(weight_decay=0.1),
        TrainConfig(batch_size=16, steps=steps_for(3_200_000, 16, 128), eval_every=391, checkpoint_every=200),
        "shakespeare",
    ),
    Recipe(
        "cpu-15min",
        "1.8 M parameters, context 128, 7.5 M tokens. 8.5 CPU-min in bfloat16, 15 in float32; 0.9 GB.",
        _small(128, 192, 3, dropout=0.1, attention_dropout=0.0),
        OptimConfig(weight_decay=0.1),
        TrainConfig(batch_size=16, steps=steps_for(7_500_000, 16, 128), eval_every=916, checkpoint_every=200),
        "shakespeare",
    ),
    Recipe(
        "gpu",
        "nanoGPT's GPU configuration: 10.6 M parameters, context 256, 82 M tokens. For a GPU; no recorded result.",
        ModelConfig(256, 384, 6, 6, dropout=0.2, activation="gelu", tie_embeddings=True, bias=False),
        OptimConfig("adamw", lr=1e-3, weight_decay=0.1, warmup_steps=100),
        TrainConfig(batch_size=64, steps=5000, eval_every=250),
    ),
)
RECIPES = {recipe.name: recipe for recipe in _ALL}
DEFAULT_RECIPE = "cpu-3min"

DEMO = Recipe(
    "demo",
    "0.35 M parameters, context 64, 1.2 M tokens of the Python language reference: 1.5 CPU-min.",
    ModelConfig(64, 96, 4, 3, activation="gelu", bias=False, tie_embeddings=True),
    OptimConfig(weight_decay=0.1),
    TrainConfig(batch_size=16, steps=steps_for(1_200_000, 16, 64), eval_every=293),
)
