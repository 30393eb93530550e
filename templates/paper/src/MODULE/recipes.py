"""Named configurations with their expected time and result."""
# Replace: the recipes, with times and losses that you measured.

from __future__ import annotations

from dataclasses import dataclass, field

from MODULE.config import DataConfig, ModelConfig, TrainConfig


@dataclass(frozen=True)
class Recipe:
    """A training run that is known to work."""

    name: str
    description: str
    model: ModelConfig
    train: TrainConfig
    data: DataConfig = field(default_factory=DataConfig)


_ON_CPU = TrainConfig(steps=600, device="cpu", dtype="float32")  # too small for bfloat16 or a GPU to be faster
_LISTED = [
    Recipe("demo", "6 k parameters, context 4.", ModelConfig(context_length=4), _ON_CPU),
    Recipe("base", "11 k parameters, context 8.", ModelConfig(), TrainConfig(steps=2000)),
]
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _LISTED}
