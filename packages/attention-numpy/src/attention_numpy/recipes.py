"""Named training runs of `attention-numpy train`; README.md and RESULTS.md list what each costs and reaches."""

from __future__ import annotations

from dataclasses import dataclass

from attention_numpy.config import DataConfig, ModelConfig, TrainConfig


@dataclass(frozen=True)
class Recipe:
    """A configuration of model, training and data, with a name and a one-line description."""

    name: str
    description: str
    model: ModelConfig
    train: TrainConfig
    data: DataConfig


def _task(name: str, description: str, steps: int, data: DataConfig) -> Recipe:
    return Recipe(name, description, ModelConfig(), TrainConfig(steps=steps, lr=3e-3), data)


DEMO = Recipe(
    "demo",
    "English to German number words, a short run.",
    ModelConfig(),
    TrainConfig(steps=600, lr=3e-3, eval_every=100, eval_count=250),
    DataConfig(),
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _task("number-words", "English to German number words.", 1400, DataConfig()),
        _task("number-digits", "English number words to digits.", 700, DataConfig(task="number-digits")),
        _task("copy", "Copy 4 to 16 letters.", 600, DataConfig(task="copy")),
        _task("reverse", "Reverse 4 to 16 letters.", 1100, DataConfig(task="reverse")),
        _task("sort", "Sort 4 to 16 letters.", 1100, DataConfig(task="sort")),
        _task("addition", "Add two 3-digit numbers; the sum is written reversed.", 3000, DataConfig(task="addition")),
        _task("addition-5", "Add two 5-digit numbers.", 5000, DataConfig(task="addition", digits=5)),
        Recipe(
            "text",
            "Character language model of --text FILE.",
            ModelConfig(d_model=128, d_ff=512, dropout=0.1, norm="pre"),
            TrainConfig(steps=600, batch_size=32),
            DataConfig(task="text"),
        ),
    )
}
