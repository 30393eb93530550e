"""The commands that train: demo, prepare, train, finetune."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gpt2.settings import OptimConfig, TrainConfig


@dataclass
class Demo:
    """Train a small GPT-2 on Python's own documentation (minutes), look at it, export it, use the export."""

    out: Path = Path("runs/demo")
    """Where everything is written."""
    steps: int = 300
    """Training steps."""
    seed: int = 0

    def __call__(self) -> None:
        """Print what happens."""
        from gpt2.demo import demo

        demo(self.out, print, log_line, self.steps, self.seed)
        print(f'Go on with: gpt2 generate {self.out}/run --prompt "def " --temperature 0.7')


@dataclass
class Prepare:
    """Turn text files (.txt, or .jsonl with "text"), or what `bpe encode` wrote, into token files for training."""

    files: tyro.conf.Positional[list[Path]]
    """The texts."""
    out: Path
    """The folder for the token files."""
    tokenizer: str = "bytes"
    """`bytes`, `gpt2`, or the path of a tokenizer."""
    held_out: float = 0.1
    """The fraction at the end that is kept for validation."""
    workers: int = 1
    """Processes."""

    def __call__(self) -> None:
        """Print what was written."""
        from gpt2.prepare import prepare

        index = prepare(self.files, self.out, self.tokenizer, held_out=self.held_out, workers=self.workers)
        print(f"{self.out}: {index['tokens']:,} tokens of {index['documents']:,} documents")


@tyro.conf.configure(tyro.conf.OmitArgPrefixes)
@dataclass
class Train:
    """Train a model from random weights on token files."""

    data: tyro.conf.Positional[Path]
    """A folder that `gpt2 prepare` wrote."""
    out: Path = Path("runs/gpt2")
    """The run's folder."""
    size: Literal["124M", "350M", "774M", "1558M"] | None = None
    """One of the paper's sizes, instead of the four numbers below."""
    d_model: int = 128
    n_heads: int = 4
    n_layers: int = 4
    context_length: int = 128
    dropout: float = 0.0
    device: str = "auto"
    """auto, cpu, cuda, mps."""
    order: Literal["random", "epochs", "documents"] = "random"
    """Windows anywhere, each window once per pass, or whole documents packed into rows."""
    resume: bool = False
    """Go on from the checkpoint in the run's folder."""
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)

    def __call__(self) -> None:
        """Train; messages go to stderr, the last losses to stdout."""
        from gpt2.allocator import keep_freed_memory

        keep_freed_memory()
        import torch

        from gpt2 import parallel, tokenizers
        from gpt2.data import Batches, TokenFiles, Windows
        from gpt2.devices import resolve_device
        from gpt2.model import GPT2, GPT2Config
        from gpt2.packing import PackedDocuments
        from gpt2.train import Trainer

        files = TokenFiles(self.data)
        tokenizer = files.tokenizer()
        shape: dict[str, Any] = {"vocab_size": tokenizer.n_vocab, "dropout": self.dropout, "eos_id": tokenizer.eos_id}
        if self.size is None:
            shape |= {"d_model": self.d_model, "n_heads": self.n_heads, "n_layers": self.n_layers}
            config = GPT2Config(context_length=self.context_length, **shape)
        else:
            config = GPT2Config.named(self.size, **shape)
        data: Batches
        if self.order == "documents":
            data = PackedDocuments(files, config.context_length, self.train.seed)
        else:
            data = Windows(files, config.context_length, self.train.seed, self.order)
        if self.resume and (note := self.out / tokenizers.FILE).exists():
            tokenizers.check_same(tokenizer, tokenizers.load(self.out), note)
        with parallel.joined(resolve_device(self.device)) as device, shown(self.train.steps) as callbacks:
            torch.manual_seed(self.train.seed)
            trainer = Trainer(GPT2(config).to(device), data, self.train, self.out, **callbacks)
            if parallel.rank() == 0:
                self.out.mkdir(parents=True, exist_ok=True)
                tokenizers.save(tokenizer, self.out)
            last = trainer.run(resume=self.resume)
            if parallel.rank() == 0:
                say_losses(last, self.out)


@tyro.conf.configure(tyro.conf.OmitArgPrefixes)
@dataclass
class Finetune:
    """Go on training a model on a text file, or on .jsonl with "prompt" and "completion" a line."""

    model: tyro.conf.Positional[Path]
    text: Path
    out: Path = Path("runs/finetuned")
    """The new run's folder."""
    lora: int = 0
    """Train low-rank changes of this rank only, merged in what is saved; 0: all weights."""
    held_out: float = 0.1
    """The fraction at the end that is kept for validation."""
    tokenizer: str | None = None
    """Only where the model's folder does not say."""
    device: str = "auto"
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=300, batch_size=16, eval_every=50, patience=3, optim=OptimConfig(lr=3e-4, warmup=20)
        )
    )

    def __call__(self) -> None:
        """Train; messages go to stderr, the last losses to stdout."""
        from gpt2.allocator import keep_freed_memory

        keep_freed_memory()
        from gpt2 import parallel, tokenizers
        from gpt2.devices import resolve_device
        from gpt2.finetune import Examples, finetune, read_examples
        from gpt2.pretrained import load

        model = load(self.model)
        tokenizer = tokenizers.load(self.model, self.tokenizer)
        tokenizers.check(tokenizer, model.config.vocab_size)
        length = model.config.context_length
        data = Examples(read_examples(self.text, tokenizer, length), length, self.train.seed, self.held_out)
        with parallel.joined(resolve_device(self.device)) as device, shown(self.train.steps) as callbacks:
            if parallel.rank() == 0:
                self.out.mkdir(parents=True, exist_ok=True)
                tokenizers.save(tokenizer, self.out)
            last = finetune(model.to(device), data, self.train, self.out, self.lora, **callbacks)
            if parallel.rank() == 0:
                say_losses(last, self.out)


def log_line(entry: dict[str, Any]) -> None:
    """One line on stderr per logged step."""
    found = f"val_loss {entry['val_loss']:.4f}  " if "val_loss" in entry else ""
    print(
        f"step {entry['step']:6d}  loss {entry['loss']:.4f}  {found}{entry['tokens_per_second']:,.0f} tokens/s",
        file=sys.stderr,
    )


@contextmanager
def shown(steps: int) -> Iterator[dict[str, Any]]:
    """Callbacks for a Trainer: a bar over the steps, on a terminal only, and a line above it for each logged step."""
    from tqdm import tqdm

    from gpt2 import parallel

    hidden = None if parallel.rank() == 0 else True  # None: where there is no terminal
    with tqdm(total=steps, unit="step", disable=hidden, leave=False) as bar:

        def on_log(entry: dict[str, Any]) -> None:
            with tqdm.external_write_mode(sys.stderr):
                log_line(entry)

        yield {"on_step": lambda step: bar.update(step - bar.n), "on_log": on_log}


def say_losses(last: dict[str, Any], folder: Path) -> None:
    """The last losses on stdout; the run's curve as a picture, or how to get one on stderr."""
    from gpt2.pictures import loss_curve

    print(", ".join(f"{key} {last[key]:.4f}" for key in ("loss", "val_loss") if key in last))
    try:
        loss_curve(folder)
    except ValueError as error:
        print(error, file=sys.stderr)
