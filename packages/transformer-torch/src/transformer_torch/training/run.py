"""A training run in a folder: prepare it, resume it, carry it out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from transformer_torch._common.atomic import read_json_object, write_json, write_text
from transformer_torch._common.device import dtype_name, pick_device, pick_dtype
from transformer_torch._common.errors import check_integer, invalid
from transformer_torch._common.pretrained import find_run
from transformer_torch._common.run_folder import (
    CONFIG,
    METRICS,
    WEIGHTS,
    check_same_settings,
    claim_run_folder,
    clear_run_folder,
)
from transformer_torch._common.tensors import load_weights, read_tensors
from transformer_torch.config import TrainConfig, TransformerConfig
from transformer_torch.data.batching import Pair
from transformer_torch.data.corpus import DATASETS, Corpus, load_dataset, read_parallel
from transformer_torch.data.dates import date_corpus
from transformer_torch.data.tokenizer import Tokenizer, build_tokenizer, load_tokenizer
from transformer_torch.inference.translate import Translator
from transformer_torch.model import Transformer
from transformer_torch.recipes import DataConfig, Recipe
from transformer_torch.training import checkpoint
from transformer_torch.training.distributed import barrier
from transformer_torch.training.trainer import Metrics, Trainer

ATTENTION_FIGURE = "attention.png"
# of config.json, what a resumed run may change: where files are, what it runs on, how often it saves
FREE = (
    "version",
    "device",
    "checkpoint_every",
    "src",
    "tgt",
    "valid_src",
    "valid_tgt",
    "average_of",
    "extended",
    "extend",
    "length_alpha",
)


@dataclass(frozen=True)
class Run:
    """A run that is ready to train."""

    trainer: Trainer
    tokenizer: Tokenizer
    resumed: bool


def corpora(data: DataConfig, say: Callable[[str], None] = lambda text: None) -> tuple[Corpus, Corpus]:
    """Return training and validation text. Raises: ValueError for options that contradict each other."""
    files = {"src": data.src, "tgt": data.tgt, "valid_src": data.valid_src, "valid_tgt": data.valid_tgt}
    given = [name for name, path in files.items() if path is not None]
    if data.data is not None:
        if data.data not in ("dates", *DATASETS):
            raise invalid("data", f"be one of dates, {', '.join(DATASETS)}", data.data)
        if given:
            raise ValueError(
                f"`{given[0]}` must not be set with `data` = {data.data!r}. For your own text use the recipe small"
            )
        if data.data == "dates":
            return date_corpus(20_000), date_corpus(500, held_out=True)
        return load_dataset(data.data, "train"), load_dataset(data.data, "val")
    if data.src is None:
        raise ValueError(
            "`src` must be a file of source sentences, got none. Add --src FILE --tgt FILE, or --data NAME"
        )
    train = read_parallel(data.src, data.tgt).cleaned()
    if data.valid_src is not None:
        return train, read_parallel(data.valid_src, data.valid_tgt).cleaned()
    if data.valid_tgt is not None:
        raise ValueError("`valid_src` must be set with `valid_tgt`, got none")
    train, valid = train.held_out()
    say(f"held out {len(valid):,} of {len(train) + len(valid):,} pairs for validation")
    return train, valid


def fingerprint(*corpora: Corpus) -> str:
    """Return what distinguishes one text from another: 16 hexadecimal digits of a hash."""
    text = "\n\n".join("\n".join([*corpus.src, *corpus.tgt]) for corpus in corpora)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def prepare(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    extend: int = 0,
    init_from: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Run:
    """Return a run that writes into `out`. Everything is checked before the first file is written.

    resume: continue the run in `out`, which must have been started with the same settings. extend: steps to add to
    a finished run. init_from: a run folder or `pretrained:NAME`, whose weights and tokenizer are
    the start (fine-tuning).
    Raises: ValueError that names the setting that differs, or says what else is wrong.
    """
    check_integer("extend", extend, 0)
    if extend and not resume:
        raise invalid("extend", "be 0 without --resume", extend)
    if recipe.model.pad_id != 0:
        raise invalid("pad_id", "be 0, the padding of every tokenizer", recipe.model.pad_id)
    resumes = claim_run_folder(out, resume=resume, overwrite=overwrite, also=(ATTENTION_FIGURE,))
    barrier()  # every process has seen the folder as it was
    saved = read_json_object(out / CONFIG) if resumes else {}
    notes: list[str] = []  # said after all checks, so that an error is the only line
    train_config = _resolved(recipe.train, saved, notes.append)
    train, valid = corpora(recipe.data, notes.append)
    if resumes or init_from is not None:
        tokenizer = load_tokenizer(out if resumes or init_from is None else find_run(init_from, "transformer_torch"))
    else:
        tokenizer = build_tokenizer(recipe.data.vocab, [*train.src, *train.tgt], recipe.model.vocab_size)
    model_config = replace(recipe.model, vocab_size=len(tokenizer))
    now = {
        "model": model_config.to_dict(),
        "train": train_config.to_dict(),
        "data": recipe.data.to_dict()
        | {"vocab_size": recipe.model.vocab_size, "fingerprint": fingerprint(train, valid)}
        | ({} if init_from is None else {"init_from": str(init_from)}),
        "version": version("dlpapers-transformer-torch"),
    }
    extended = 0
    if resumes:
        extended = _check_same(saved, now, out)
        train_config = replace(train_config, steps=train_config.steps + extended)
    pairs = train.encode(tokenizer, model_config.max_length, notes.append)
    valid_pairs = valid.encode(tokenizer, model_config.max_length, notes.append)
    torch.manual_seed(train_config.seed)
    model = Transformer(model_config)
    if init_from is not None and not resumes:
        _start_from(init_from, model, recipe.data, tokenizer)
    trainer = Trainer(
        model,
        train_config,
        pairs,
        valid_pairs,
        out,
        _resampler(recipe.data, train, tokenizer, model_config, train_config.seed),
    )
    if resumes:
        _resume(trainer, saved, now, extend)
    elif trainer.rank == 0:
        clear_run_folder(out, (ATTENTION_FIGURE,))
        out.mkdir(parents=True, exist_ok=True)
        tokenizer.save(out)
        write_json(out / CONFIG, now)
        write_text(out / METRICS, "")
    barrier()
    for note in notes:
        say(note)
    return Run(trainer, tokenizer, resumes)


def _start_from(folder: Path, model: Transformer, data: DataConfig, tokenizer: Tokenizer) -> None:
    """Load the weights of another run. Raises: ValueError that names the setting in which it differs."""
    name, folder = folder, find_run(folder, "transformer_torch")
    saved = read_json_object(folder / CONFIG).get("model")
    now = model.config.to_dict() | {"vocab": data.vocab}
    then = (saved if isinstance(saved, dict) else {}) | {"vocab": tokenizer.to_dict()["kind"]}
    for setting, value in now.items():
        if setting not in ("dropout", "max_length") and then.get(setting) != value:
            raise invalid(setting, f"be {then.get(setting)!r} to start from {name}", value)
    if model.config.positions == "learned" and then.get("max_length") != model.config.max_length:
        raise invalid("max_length", f"be {then.get('max_length')} to start from {name}", model.config.max_length)
    load_weights(model, read_tensors(folder / WEIGHTS)[0], folder / WEIGHTS)


def _resolved(config: TrainConfig, saved: dict[str, Any], say: Callable[[str], None]) -> TrainConfig:
    """Choose device and dtype once; a resumed run with dtype auto has the dtype that it was started with."""
    device = pick_device(config.device)
    wanted = saved.get("train", {}).get("dtype", "auto") if config.dtype == "auto" else config.dtype
    dtype = pick_dtype(wanted, device, say)
    say(f"Training on {device}, {dtype_name(dtype)}.")
    return replace(config, device=str(device), dtype=dtype_name(dtype))  # type: ignore[arg-type]


def _check_same(saved: dict[str, Any], now: dict[str, Any], out: Path) -> int:
    """Compare the settings; return the number of steps by which the saved run was extended."""
    extended = saved.get("extended", 0)
    if not isinstance(extended, int) or not isinstance(saved.get("train"), dict):
        raise ValueError(f"{out / CONFIG}: not the settings of a run")
    now = now | {"train": now["train"] | {"steps": now["train"]["steps"] + extended}}
    free = FREE if now["train"]["patience"] else (*FREE, "eval_every")
    check_same_settings(saved, now, out, free)
    return extended


def _resume(trainer: Trainer, saved: dict[str, Any], now: dict[str, Any], extend: int) -> None:
    """Load the checkpoint; extend a finished run and record it."""
    assert trainer.out is not None
    trainer.load()
    if extend and trainer.finished:
        trainer.extend(extend)
        if trainer.rank == 0:
            steps = trainer.config.steps
            more = {"extended": steps - now["train"]["steps"], "extend": extend}
            write_json(trainer.out / CONFIG, now | {"train": now["train"] | {"steps": steps}} | more)
    elif extend and extend != saved.get("extend"):
        raise ValueError(
            f"`extend` must be 0 for a run that is not finished, got {extend}. "
            f"{trainer.out} is at step {trainer.progress.step:,} of {trainer.config.steps:,}"
        )
    elif trainer.finished and trainer.rank == 0:
        path = trainer.out / WEIGHTS
        written = read_tensors(path)[1].get("step") if path.exists() else None
        if written != str(trainer.progress.step):  # killed between the two files of the last checkpoint
            checkpoint.write_model(trainer)


def _resampler(
    data: DataConfig, train: Corpus, tokenizer: Tokenizer, model: TransformerConfig, seed: int
) -> Callable[[int], list[Pair]] | None:
    """Return the pairs of an epoch by its number, if BPE-dropout changes them."""
    if not data.bpe_dropout:
        return None
    return lambda epoch: train.sample(tokenizer, model.max_length, data.bpe_dropout, f"{seed} {epoch}")


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[Metrics], None] = lambda metrics: None,
) -> Translator:
    """Carry out a recipe; return the translator that `Translator.load(out)` returns from then on."""
    run = prepare(recipe, out, resume=resume, overwrite=overwrite)
    return Translator(run.trainer.fit(report), run.tokenizer)
