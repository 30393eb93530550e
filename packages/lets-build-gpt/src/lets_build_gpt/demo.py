"""The steps of `lets-build-gpt demo`: a bigram model, an untrained GPT, a trained GPT, and the text of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from lets_build_gpt._common.errors import MissingDependencyError
from lets_build_gpt._common.run_folder import LOSS_CURVE
from lets_build_gpt.bigram import fit_bigrams
from lets_build_gpt.checkpoint import load_run
from lets_build_gpt.data import load_text
from lets_build_gpt.model import Model
from lets_build_gpt.plots import attention_page, plot_attention, plot_loss
from lets_build_gpt.recipes import DEMO
from lets_build_gpt.run import Result
from lets_build_gpt.tokenizer import CharTokenizer

ATTENTION_CHARACTERS = 24


def indent(text: str) -> str:
    """Return a text, indented by four spaces and followed by an empty line."""
    return "    " + text.strip().replace("\n", "\n    ") + "\n"


def sample(model: Model, tokenizer: CharTokenizer, seed: int, max_new_tokens: int = 300) -> str:
    """Return a text that a model writes at temperature 0.8."""
    start = torch.tensor([tokenizer.encode(tokenizer.start)])
    generator = torch.Generator().manual_seed(seed)
    ids = model.generate(start, max_new_tokens=max_new_tokens, temperature=0.8, generator=generator)
    return tokenizer.decode(ids[0].tolist())


def before_training(show: Callable[[str], object]) -> float:
    """Show the text of a bigram model and of an untrained GPT. Return the bigram model's validation loss."""
    text = load_text()
    bigram = fit_bigrams(text, train=False)
    show(f"1. A bigram model predicts from one character: validation loss {bigram.validation:.3f} nats per character.")
    show(indent(bigram.sample))
    tokenizer = CharTokenizer.from_text(text)
    torch.manual_seed(DEMO.train.seed)
    untrained = Model.from_config(replace(DEMO.model, vocab_size=tokenizer.vocab_size))
    show(
        f"2. A GPT with {untrained.num_parameters():,} parameters and a context of {DEMO.model.context_length} "
        "characters, before training:"
    )
    show(indent(sample(untrained, tokenizer, DEMO.train.seed)))
    return bigram.validation


def after_training(result: Result, bigram_loss: float, show: Callable[[str], object]) -> None:
    """Show the text of the trained GPT and what to run next."""
    model, tokenizer = load_run(result.folder)
    loss = result.best_val_loss
    show(f"3. The GPT after {result.cpu_seconds:.0f} CPU-seconds of training: validation loss {loss:.3f}.")
    show(indent(sample(model, tokenizer, DEMO.train.seed)))
    show(f"Validation loss in nats per character: bigram {bigram_loss:.3f}, GPT {loss:.3f}.")


def draw(folder: Path, show: Callable[[str], object], say: Callable[[str], object]) -> None:
    """Write the figures of the demo's run and name them; `say` names what is missing for those left out."""
    model, tokenizer = load_run(folder)
    text = sample(model, tokenizer, DEMO.train.seed).strip()[:ATTENTION_CHARACTERS]
    with torch.no_grad():
        _, intermediates = model(torch.tensor([tokenizer.encode(text)]), return_intermediates=True)
    weights = intermediates.attn[:, 0]
    figures: list[tuple[str, str, Callable[[Path], object]]] = [
        (LOSS_CURVE, "the losses during training", lambda path: plot_loss([folder], path)),
        ("attention.png", "the attention weights of every head", lambda path: plot_attention(weights, text, path)),
        ("attention.html", "the same, to explore in a browser", lambda path: attention_page(weights, text, path)),
    ]
    for name, content, write in figures:
        try:
            write(folder / name)
            show(f"  {folder / name}: {content}")
        except MissingDependencyError as error:
            say(f"{name}: {error}")
