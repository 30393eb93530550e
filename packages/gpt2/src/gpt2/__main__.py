"""Command line of gpt2."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gpt2.settings import OptimConfig, Overflow, Sampling, Task, TrainConfig, Weights


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
    """Turn text files (.txt, or .jsonl with "text") into token files for training."""

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
    order: Literal["random", "epochs"] = "random"
    """Windows anywhere, or each window once per pass."""
    resume: bool = False
    """Go on from the checkpoint in the run's folder."""
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)

    def __call__(self) -> None:
        """Train; messages go to stderr, the last losses to stdout."""
        import torch

        from gpt2 import tokenizers
        from gpt2.data import TokenFiles, Windows
        from gpt2.devices import resolve_device
        from gpt2.model import GPT2, GPT2Config
        from gpt2.train import Trainer

        files = TokenFiles(self.data)
        tokenizer = files.tokenizer()
        shape: dict[str, Any] = {"vocab_size": tokenizer.n_vocab, "dropout": self.dropout, "eos_id": tokenizer.eos_id}
        if self.size is None:
            shape |= {"d_model": self.d_model, "n_heads": self.n_heads, "n_layers": self.n_layers}
            config = GPT2Config(context_length=self.context_length, **shape)
        else:
            config = GPT2Config.named(self.size, **shape)
        data = Windows(files, config.context_length, self.train.seed, self.order)
        device = resolve_device(self.device)
        torch.manual_seed(self.train.seed)
        trainer = Trainer(GPT2(config).to(device), data, self.train, self.out, on_log=log_line)
        self.out.mkdir(parents=True, exist_ok=True)
        tokenizers.save(tokenizer, self.out)
        last = trainer.run(resume=self.resume)
        print(", ".join(f"{key} {last[key]:.4f}" for key in ("loss", "val_loss") if key in last))


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
        from gpt2 import tokenizers
        from gpt2.devices import resolve_device
        from gpt2.finetune import Examples, finetune, read_examples
        from gpt2.pretrained import load

        model = load(self.model).to(resolve_device(self.device))
        tokenizer = tokenizers.load(self.model, self.tokenizer)
        tokenizers.check(tokenizer, model.config.vocab_size)
        length = model.config.context_length
        data = Examples(read_examples(self.text, tokenizer, length), length, self.train.seed, self.held_out)
        self.out.mkdir(parents=True, exist_ok=True)
        tokenizers.save(tokenizer, self.out)
        last = finetune(model, data, self.train, self.out, self.lora, log_line)
        print(", ".join(f"{key} {last[key]:.4f}" for key in ("loss", "val_loss") if key in last))


@dataclass
class Evaluate:
    """Perplexity of a text file: each token predicted once, from at least `context - stride` tokens before it.

    Or a task of the paper's kind: WikiText-2, LAMBADA, HellaSwag.
    """

    model: tyro.conf.Positional[Path]
    text: Path | None = None
    """The text, or the task's file; a task without one fetches what is published (with ./shared installed)."""
    task: Task | None = None
    stride: int = 0
    """How far the window moves; 0: half the context."""
    limit: int | None = None
    """Of LAMBADA and HellaSwag the first so many examples."""
    weights: Weights = "float32"
    """How the weights are stored."""
    tokenizer: str | None = None
    """Only where the model's folder does not say."""
    device: str = "auto"

    def __call__(self) -> None:
        """Print one result a line."""
        from tqdm import tqdm

        from gpt2 import tokenizers
        from gpt2.compact import compact
        from gpt2.devices import resolve_device
        from gpt2.evaluate import evaluate_text
        from gpt2.pretrained import load
        from gpt2.tasks import evaluate_task

        if self.text is None and self.task is None:
            raise ValueError("text: give a text with --text, or a --task")
        model = compact(load(self.model), self.weights).to(resolve_device(self.device))
        tokenizer = tokenizers.load(self.model, self.tokenizer)
        tokenizers.check(tokenizer, model.config.vocab_size)
        if self.task is None and self.text is not None:
            found = evaluate_text(model, tokenizer, read_text(self.text), self.stride or None)
        elif self.task is not None:
            found = evaluate_task(
                model,
                tokenizer,
                self.task,
                self.text,
                stride=self.stride or None,
                limit=self.limit,
                progress=lambda results, total: tqdm(results, total=total, disable=None),
            )
        for name, value in found.items():
            print(f"{name}: {value:.6g}")


@dataclass
class Generate:
    """Continue a text. Without a prompt on a terminal: an interactive session."""

    model: tyro.conf.Positional[Path]
    prompt: str | None = None
    max_new_tokens: int = 100
    samples: int = 1
    """How many continuations; sample i draws with seed + i."""
    stop: tuple[str, ...] = ()
    """Texts that end the continuation."""
    seed: int | None = None
    overflow: Overflow = "rebase"
    """What happens when the text outgrows the context: keep the last half, or recompute each token (slow)."""
    weights: Weights = "float32"
    """Smaller weights are read faster: float16 says the same, int8 nearly so (meant for a CPU)."""
    tokenizer: str | None = None
    """Only where the model's folder does not say."""
    device: str = "auto"
    sampling: Annotated[Sampling, tyro.conf.arg(name="")] = field(default_factory=Sampling)

    def __call__(self) -> None:
        """Write the text as it is drawn."""
        from gpt2 import tokenizers
        from gpt2.compact import compact
        from gpt2.devices import resolve_device
        from gpt2.pretrained import load
        from gpt2.text import generate_text

        if self.samples < 1:
            raise ValueError(f"samples: {self.samples} is not a positive number")
        model = compact(load(self.model), self.weights).to(resolve_device(self.device))
        tokenizer = tokenizers.load(self.model, self.tokenizer)

        def answer(prompt: str) -> None:
            single = self.samples == 1
            if single:
                print(prompt, end="", flush=True)
            found = generate_text(
                model,
                tokenizer,
                [prompt] * self.samples,
                self.max_new_tokens,
                self.sampling,
                stop=self.stop,
                seed=self.seed,
                overflow=self.overflow,
                write=(lambda _, text: print(text, end="", flush=True)) if single else None,
            )
            print("" if single else "\n---\n".join(prompt + text for text in found))

        if self.prompt is not None or not sys.stdin.isatty():
            answer(self.prompt or "")
            return
        while True:
            try:
                answer(input("> "))
            except (EOFError, KeyboardInterrupt):
                print()
                return


@dataclass
class Export:
    """Read a model (a folder, or nanoGPT's or minGPT's .pt) and write it as a Hugging Face folder."""

    model: tyro.conf.Positional[Path]
    out: Path
    format: Literal["hf"] = "hf"
    n_heads: int | None = None
    """For a minGPT file, which does not tell it."""

    def __call__(self) -> None:
        """Print where it is."""
        from gpt2 import tokenizers
        from gpt2.pretrained import load, save

        model = load(self.model, n_heads=self.n_heads)
        if model.config.window is not None:
            raise ValueError("model: has a sliding window, which transformers' GPT-2 does not know")
        save(model, self.out)
        if (self.model / tokenizers.FILE).exists():
            tokenizers.save(tokenizers.load(self.model), self.out)
        print(self.out)


@dataclass
class Download:
    """Fetch OpenAI's weights, half a gigabyte for 124M, into a folder; a download that broke off goes on."""

    size: tyro.conf.Positional[Literal["124M"]]
    out: Path | None = None
    """The folder; models/gpt2-SIZE if not given."""
    url: str | None = None
    """A mirror of the file; it has to have the same sha256."""

    def __call__(self) -> None:
        """Print where it is."""
        from tqdm import tqdm

        from gpt2.download import download

        with tqdm(unit="B", unit_scale=True, disable=None) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            print(download(self.size, self.out or Path(f"models/gpt2-{self.size}"), self.url, progress))


@dataclass
class Inspect:
    """Say what a model is: its config, its parameters, its memory."""

    model: tyro.conf.Positional[Path]

    def __call__(self) -> None:
        """Print one fact a line."""
        from gpt2.pretrained import load

        model = load(self.model)
        for name, value in asdict(model.config).items():
            print(f"{name}: {value}")
        count, c = model.parameter_count(), model.config
        print(f"parameters: {count:,}")
        print(f"memory in float32: {4 * count / 2**20:,.1f} MiB; to train with AdamW: {16 * count / 2**20:,.1f} MiB")
        print(f"cache of one full text: {8 * c.n_layers * c.d_model * c.context_length / 2**20:,.1f} MiB")


@dataclass
class Cite:
    """Print the paper that this package implements."""

    def __call__(self) -> None:
        """Print one line."""
        from gpt2.paper import PAPER

        print(PAPER.citation())


def log_line(entry: dict[str, Any]) -> None:
    """One line on stderr per logged step."""
    found = f"val_loss {entry['val_loss']:.4f}  " if "val_loss" in entry else ""
    print(
        f"step {entry['step']:6d}  loss {entry['loss']:.4f}  {found}{entry['tokens_per_second']:,.0f} tokens/s",
        file=sys.stderr,
    )


def read_text(path: Path) -> str:
    """A file's text; ValueError for what is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8") from None


COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": Demo,
    "prepare": Prepare,
    "train": Train,
    "finetune": Finetune,
    "evaluate": Evaluate,
    "generate": Generate,
    "export": Export,
    "download": Download,
    "inspect": Inspect,
    "cite": Cite,
}


def main() -> None:
    """Parse the command line and run it; bad input is one line on stderr and exit status 2."""
    try:
        command = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="gpt2", description=__doc__)
        command()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
