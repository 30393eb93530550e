"""Command line of gpt2. Here are the commands that use a model; those that train one are in gpt2.cli."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gpt2.cli import Demo, Finetune, Prepare, Train
from gpt2.settings import Overflow, Sampling, Task, Weights


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
        model = compact(load(self.model).to(resolve_device(self.device)), self.weights)
        tokenizer = tokenizers.load(self.model, self.tokenizer)
        tokenizers.check(tokenizer, model.config.vocab_size)
        if self.task is None:
            assert self.text is not None
            found = evaluate_text(model, tokenizer, read_text(self.text), self.stride or None)
        else:
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
    logprobs: bool = False
    """Print each token with its log-probability under the model, a line for each, after the text."""
    weights: Weights = "float32"
    """Smaller weights are read faster: float16 says the same, int8 nearly so (meant for a CPU)."""
    compile: bool = False
    """Decode in C, built by this machine's compiler: seconds to start, then faster, most of all with int8."""
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
        model = compact(load(self.model).to(resolve_device(self.device)), self.weights, self.compile)
        tokenizer = tokenizers.load(self.model, self.tokenizer)

        def answer(prompt: str) -> None:
            single = self.samples == 1
            if single:
                print(prompt, end="", flush=True)
            tokens: list[list[str]] = [[] for _ in range(self.samples)]

            def on_logprob(row: int, token: int, logprob: float) -> None:
                tokens[row].append(f"{logprob:9.4f}  {tokenizer.decode([token])!r}")

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
                on_logprob=on_logprob if self.logprobs else None,
            )
            if single:
                print("".join("\n" + line for line in tokens[0]))
            else:
                samples = zip(found, tokens, strict=True)
                print("\n---\n".join("\n".join([prompt + text, *lines]) for text, lines in samples))

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
