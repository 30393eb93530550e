"""The recipes of `train`: a configuration for each task, with what it costs and reaches (README, RESULTS.md)."""

from __future__ import annotations

from attention_numpy.objectives import TrainConfig

DEMO = TrainConfig(steps=600, lr=3e-3)
FIVE_DIGITS = TrainConfig(task="addition", digits=5, steps=5000, lr=3e-3)

RECIPES: dict[str, tuple[TrainConfig, str]] = {
    "number-words": (TrainConfig(steps=1400, lr=3e-3), "English to German number words"),
    "number-digits": (TrainConfig(task="number-digits", steps=700, lr=3e-3), "English number words to digits"),
    "copy": (TrainConfig(task="copy", steps=600, lr=3e-3), "4 to 16 letters as they are"),
    "reverse": (TrainConfig(task="reverse", steps=1100, lr=3e-3), "4 to 16 letters from last to first"),
    "sort": (TrainConfig(task="sort", steps=1100, lr=3e-3), "4 to 16 letters in the order of the alphabet"),
    "addition": (TrainConfig(task="addition", steps=3000, lr=3e-3), "sums of 3-digit numbers, written reversed"),
    "addition-5": (FIVE_DIGITS, "the same with 5 digits"),
    "text": (
        TrainConfig(task="text", text="", steps=600, batch=32, d_model=128, d_ff=512, dropout=0.1, norm="pre"),
        "a character language model of --text FILE",
    ),
}
