"""A run: a recipe carried out in a folder, `runs/<name>/`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from transformer_torch.allocator import keep_memory
from transformer_torch.batching import Pair
from transformer_torch.corpus import Corpus, named_corpus, read_parallel
from transformer_torch.dates import date_corpus
from transformer_torch.files import read_json, write_json
from transformer_torch.model import Transformer
from transformer_torch.parallel import wait_for_all
from transformer_torch.recipes import DataConfig, Recipe
from transformer_torch.train import Metrics, Trainer
from transformer_torch.translate import Translator
from transformer_torch.vocab import Vocabulary, build_vocabulary, load_vocabulary


def corpora(data: DataConfig) -> tuple[Corpus, Corpus | None]:
    """Training text and validation text."""
    if data.data is not None:
        if data.src is not None:
            raise ValueError("data: give a name or --src, not both")
        return named_corpus(data.data, "train"), named_corpus(data.data, "val")
    if data.src is None:
        if data.tgt is not None or data.valid_src is not None:
            raise ValueError("src: missing; the other files are of no use without it")
        return date_corpus(20_000), date_corpus(500, held_out=True)
    valid = None if data.valid_src is None else read_parallel(data.valid_src, data.valid_tgt)
    return read_parallel(data.src, data.tgt), valid


def fingerprint(corpus: Corpus) -> str:
    """What tells a text from another, for resuming."""
    return hashlib.sha256("\n".join([*corpus.src, *corpus.tgt]).encode()).hexdigest()[:16]


def prepare(recipe: Recipe, out: Path, resume: bool = False) -> tuple[Trainer, Vocabulary]:
    """A trainer that writes into `out`. Everything is checked before the first file is written.

    With resume the recipe in the folder counts, not the one given.
    """
    keep_memory()
    if not resume and (out / "config.json").exists():
        raise ValueError(f"out: {out} holds a run already; --resume goes on with it, or give another --out")
    saved = read_json(out / "config.json") if resume else {}
    if resume:
        recipe = Recipe.from_dict(saved, str(out / "config.json"))
    train, valid = corpora(recipe.data)
    if resume and saved.get("text") != fingerprint(train):
        raise ValueError(f"{train.name}: not the text that {out} was trained on")
    vocabulary = (
        load_vocabulary(out)
        if resume
        else build_vocabulary(recipe.data.vocab, [*train.src, *train.tgt], recipe.model.vocab_size)
    )
    recipe = replace(recipe, model=replace(recipe.model, vocab_size=len(vocabulary)))
    pairs = train.encoded(vocabulary, recipe.model.max_length)
    valid_pairs = valid.encoded(vocabulary, recipe.model.max_length) if valid is not None else []
    if recipe.train.patience and not valid_pairs:
        raise ValueError("patience: stopping early needs --valid-src and --valid-tgt (or --patience 0)")
    dropout, seed = recipe.data.bpe_dropout, recipe.train.seed

    def resample(epoch: int) -> list[Pair]:
        return train.sampled(vocabulary, recipe.model.max_length, dropout, f"{seed} {epoch}")

    torch.manual_seed(seed)
    model = Transformer(recipe.model)
    trainer = Trainer(model, recipe.train, pairs, valid_pairs, out, resample if dropout else None)
    wait_for_all()  # each has seen that the folder is free (or what is in it) before the first one writes
    if resume:
        trainer.resume()
    elif trainer.rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        vocabulary.save(out)
        (out / "metrics.jsonl").unlink(missing_ok=True)
        write_json(out / "config.json", recipe.to_dict() | {"text": fingerprint(train)})
    return trainer, vocabulary


def train(
    recipe: Recipe, out: Path, resume: bool = False, report: Callable[[Metrics], None] = lambda metrics: None
) -> Translator:
    """Carry out a recipe; returns the translator that `Translator.load(out)` will be."""
    trainer, vocabulary = prepare(recipe, out, resume)
    return Translator(trainer.run(report), vocabulary)
