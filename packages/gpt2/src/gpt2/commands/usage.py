"""Commands that use a model: evaluate, generate."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from gpt2._common.cli import say
from gpt2._common.errors import check_integer, invalid
from gpt2.config import Overflow, SamplingConfig, Task, Weights


@dataclass
class Evaluate:
    """Compute perplexity and bits per byte of a text, or a benchmark of the paper.

    Each token is predicted once, from at least `context - stride` tokens before it. Benchmarks are WikiText-2, LAMBADA,
    and HellaSwag; without --text, dlpapers-shared downloads their published files.

    Example: gpt2 evaluate runs/gpt2-demo --text a.txt
    """

    model: tyro.conf.Positional[Path]
    """Run folder, Hugging Face folder, or .pt file."""
    text: Path | None = None
    """Text file, - for stdin, or the file of the benchmark."""
    task: Task | None = None
    """Benchmark; without it, the perplexity of the text."""
    stride: int | None = None
    """Tokens that the window moves by; half the context by default."""
    limit: int | None = None
    """Use the first examples of LAMBADA or HellaSwag only."""
    weights: Weights = "float32"
    """Storage format of the weights."""
    tokenizer: str | None = None
    """Tokenizer, if the model's folder has none."""
    device: str = "auto"
    """Device: auto, cpu, cuda, or mps."""

    def __call__(self) -> None:
        """Print one result per line."""
        from tqdm import tqdm

        from gpt2._common.atomic import read_text
        from gpt2._common.device import pick_device
        from gpt2.data import tokenizers
        from gpt2.evaluation.benchmarks import evaluate_task
        from gpt2.evaluation.perplexity import evaluate_text
        from gpt2.inference.quantize import Decoder
        from gpt2.pretrained.weights import load

        if self.text is None and self.task is None:
            raise ValueError("`text` must be a file, or `task` a benchmark, got neither")
        if self.task is None and self.limit is not None:
            raise invalid("limit", "be used with a benchmark", self.limit)
        model = Decoder(load(self.model).to(pick_device(self.device)), self.weights)
        tokenizer = tokenizers.load(self.model, self.tokenizer)
        if self.task is None:
            text = _stdin() if self.text == Path("-") else read_text(Path(str(self.text)))
            results = evaluate_text(model, tokenizer, text, self.stride)
        else:
            results = evaluate_task(
                model,
                tokenizer,
                self.task,
                self.text,
                stride=self.stride,
                limit=self.limit,
                progress=lambda results, total: tqdm(results, total=total, disable=None),
            )
        for name, value in results.items():
            print(f"{name}: {value:.6g}")


@dataclass
class Generate:
    """Continue a text. Without a prompt: stdin, or an interactive session on a terminal.

    Example: gpt2 generate runs/gpt2-demo --prompt "The class " --temperature 0.7
    """

    model: tyro.conf.Positional[Path]
    """Run folder, Hugging Face folder, or .pt file."""
    prompt: str | None = None
    """Text to continue; - reads it from stdin."""
    max_new_tokens: int = 100
    """Maximum number of new tokens."""
    samples: int = 1
    """Number of continuations; sample i uses seed + i."""
    stop: tuple[str, ...] = ()
    """Texts that end the continuation."""
    seed: int | None = None
    """Seed of sampling; random by default."""
    overflow: Overflow = "context_shift"
    """When the text outgrows the context: keep its last half, or recompute each token (slow)."""
    logprobs: bool = False
    """Print each token with its log-probability under the model, one per line, after the text."""
    weights: Weights = "float32"
    """Storage format of the weights: float16 and int8 are faster on a CPU; int8 changes the text slightly."""
    compile: bool = False
    """Decode in C, built by this machine's compiler: a few seconds to start, then faster, most of all with int8."""
    tokenizer: str | None = None
    """Tokenizer, if the model's folder has none."""
    device: str = "auto"
    """Device: auto, cpu, cuda, or mps."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How tokens are sampled."""

    def __call__(self) -> None:
        """Write the text as it is sampled."""
        from gpt2._common.device import pick_device
        from gpt2.data import tokenizers
        from gpt2.inference.generate_text import TextStream, generate_text
        from gpt2.inference.quantize import Decoder
        from gpt2.pretrained.weights import load

        check_integer("samples", self.samples, 1)
        check_integer("max_new_tokens", self.max_new_tokens, 0)
        model = Decoder(load(self.model).to(pick_device(self.device)), self.weights, compiled=self.compile)
        tokenizer = tokenizers.load(self.model, self.tokenizer)
        tokenizers.check_fits(tokenizer, model.config.vocab_size)
        TextStream(tokenizer, self.stop)  # raises for stop strings that are not valid

        def answer(prompt: str) -> None:
            tokenizer.encode(prompt)  # raises before anything is printed
            single = self.samples == 1
            if single:
                print(prompt, end="", flush=True)
            tokens: list[list[str]] = [[] for _ in range(self.samples)]

            def on_logprob(row: int, token: int, logprob: float) -> None:
                tokens[row].append(f"{logprob:9.4f}  {tokenizer.decode([token])!r}")

            texts = generate_text(
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
                samples = zip(texts, tokens, strict=True)
                print("\n---\n".join("\n".join([prompt + text, *lines]) for text, lines in samples))

        if self.prompt not in (None, "-"):
            answer(str(self.prompt))
        elif self.prompt == "-" or not sys.stdin.isatty():
            answer(_stdin())
        else:
            while True:
                try:
                    answer(input("> "))
                except ValueError as error:  # such as a character that the model does not know
                    say(f"error: {error}")
                except (EOFError, KeyboardInterrupt):
                    print()
                    return


def _stdin() -> str:
    """Return the text of stdin with line ends as files have them, without the last one."""
    text = sys.stdin.read().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n")
