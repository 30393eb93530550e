"""What the demo shows: a table of bigrams, then a small GPT, on text that every machine has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lets_build_gpt import pictures, storage
from lets_build_gpt.bigram import BigramModel, count_bigrams, counted_loss
from lets_build_gpt.config import TrainConfig
from lets_build_gpt.data import load_text, split
from lets_build_gpt.model import Model
from lets_build_gpt.recipes import DEMO
from lets_build_gpt.tokenizer import CharTokenizer

if TYPE_CHECKING:
    from lets_build_gpt.train import Result


@dataclass(frozen=True)
class Bigrams:
    """Losses of the bigram models, nats per character, and a sample of the counted one."""

    counted: float
    trained: float
    validation: float
    sample: str


def fit_bigrams(text: str, max_length: int = 200, seed: int = 1337) -> Bigrams:
    """Count and train a bigram model on the training split of a text (named as for load_text)."""
    train_text, val_text = split(load_text(text))
    tokenizer = CharTokenizer.from_text(train_text + val_text)
    counts, val_counts = (
        count_bigrams(torch.tensor(tokenizer.encode(part)), tokenizer.n_vocab) for part in (train_text, val_text)
    )
    counted = counted_loss(counts, BigramModel.from_counts(counts).logits.weight).item()
    smoothed = BigramModel.from_counts(counts, smoothing=1.0)
    validation = counted_loss(val_counts, smoothed.logits.weight).item()
    trained = BigramModel(tokenizer.n_vocab).fit(counts)
    start = torch.tensor([tokenizer.encode(tokenizer.start())])
    ids = smoothed.generate(start, max_length, generator=torch.Generator().manual_seed(seed))
    return Bigrams(counted, trained, validation, tokenizer.decode(ids[0].tolist()))


def free_folder(wanted: str) -> Path:
    """The folder of that name, or with the first number appended that is free."""
    folder, number = Path(wanted), 1
    while (folder / storage.CONFIG).exists():
        number += 1
        folder = Path(f"{wanted}-{number}")
    return folder


def demo(
    out: str,
    tokens: int,
    train: Callable[[TrainConfig], Result],
    show: Callable[[str], object],
    warn: Callable[[str], object],
) -> None:
    """Bigrams, then a GPT trained by `train`; `show` gets the results line by line, `warn` what could not be drawn."""
    config = replace(DEMO, out=str(free_folder(out)))
    if tokens:
        config = replace(config, tokens=tokens)
    bigrams = fit_bigrams(config.text)
    show(f"A bigram model, which sees one character: validation loss {bigrams.validation:.3f} nats per character.")
    show(indented(bigrams.sample))

    torch.manual_seed(config.seed)
    tokenizer = CharTokenizer.from_text(load_text(config.text))
    untrained = Model.from_config(config.model(tokenizer.n_vocab))
    size = f"{untrained.n_parameters:,} parameters, {config.context_length} characters in sight"
    show(f"A GPT, {size}, before training:")
    show(indented(sample(untrained, tokenizer, config.seed)))

    result = train(config)
    if result.interrupted:
        show(f"Stopped after {result.steps} steps; the run is in {config.out}.")
        return
    model, tokenizer = storage.load_run(config.out)
    show(f"The GPT after {result.cpu_seconds:.0f} CPU-seconds of training: validation loss {result.val_loss:.3f}.")
    text = sample(model, tokenizer, config.seed)
    show(indented(text))

    folder = Path(config.out)
    show(f"Bigram {bigrams.validation:.3f} -> GPT {result.val_loss:.3f} nats per character. The run is in {folder}/")
    try:
        pictures.loss_curves([folder], folder / "curve.png")
        show(f"  {folder / 'curve.png'}: the loss as it fell")
        picture, page = pictures.attention(model, tokenizer, text[: config.context_length // 2], folder)
        show(f"  {picture}: where each head of each layer looks")
        show(f"  {page}: the same, to explore in a browser")
    except ModuleNotFoundError as error:
        warn(str(error))
    show("Next:")
    show(f'  lets-build-gpt generate {folder} --prompt "The " --max-length 500')
    show("  lets-build-gpt train cpu-3min --text YOUR_FILE --out runs/mine")


def sample(model: Model, tokenizer: CharTokenizer, seed: int, max_length: int = 300) -> str:
    """A text that the model writes."""
    start = torch.tensor([tokenizer.encode(tokenizer.start())])
    ids = model.generate(start, max_length, temperature=0.8, generator=torch.Generator().manual_seed(seed))
    return tokenizer.decode(ids[0].tolist())


def indented(text: str) -> str:
    """A text set off from what is said about it."""
    return "    " + text.strip().replace("\n", "\n    ") + "\n"
