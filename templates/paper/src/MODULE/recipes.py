"""Named configurations with their expected time and result."""
# Replace: the recipes, with times and losses that you measured.

from __future__ import annotations

from dataclasses import dataclass, field

from {{MODULE}}.config import DataConfig, ModelConfig, TrainConfig


@dataclass(frozen=True)
class Recipe:
    """A training run that is known to work."""

    name: str
    description: str
    model: ModelConfig
    train: TrainConfig
    data: DataConfig = field(default_factory=DataConfig)


_LISTED = [
    Recipe("demo", "4 k parameters, context 4: 600 steps.", ModelConfig(context_length=4), TrainConfig(steps=600)),
    Recipe("base", "11 k parameters, context 8: 2,000 steps.", ModelConfig(), TrainConfig(steps=2000)),
]
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _LISTED}
