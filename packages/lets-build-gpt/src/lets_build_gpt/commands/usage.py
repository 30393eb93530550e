"""The commands that use a trained run: evaluate, generate, plot, export. PyTorch is imported inside the commands."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lets_build_gpt._common.cli import say
from lets_build_gpt._common.errors import check_integer, invalid
from lets_build_gpt._common.pretrained import check_own_folder, is_pretrained
from lets_build_gpt._common.run_folder import LOSS_CURVE

if TYPE_CHECKING:
    from lets_build_gpt.model import Model
    from lets_build_gpt.tokenizer import CharTokenizer

RunArgument = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]


@dataclass
class Evaluate:
    """Score a trained model on a text: mean loss over adjacent windows, in float32.

    Example: lets-build-gpt evaluate runs/book --text other.txt
    """

    run: RunArgument
    """Run folder, or `pretrained:shakespeare`."""
    text: str | None = None
    """UTF-8 text file, `-` for stdin, or `shakespeare`; by default the text that the run was trained on."""
    split: Literal["validation", "train", "all"] | None = None
    """Part of the text; by default `validation` for the run's own text and `all` for another one."""
    last: bool = False
    """Use the weights of the last checkpoint instead of those with the lowest validation loss."""
    device: str = "auto"
    """Device: cpu, cuda, mps, or auto (the first that is available of cuda, mps, cpu)."""

    def __call__(self) -> None:
        """Print the loss."""
        from lets_build_gpt._common.device import pick_device
        from lets_build_gpt.evaluate import score_run

        text = None if self.text is None else read_text_option(self.text)
        score = score_run(self.run, text, self.text, split=self.split, last=self.last, device=pick_device(self.device))
        say(f"{score.text_name}: {score.part}, {score.characters:,} characters")
        print(f"loss: {score.loss:.4f} nats per character, {score.bits:.4f} bits, perplexity {score.perplexity:.4f}")


@dataclass
class Generate:
    """Continue a prompt with a trained model. Without a prompt on a terminal: an interactive session.

    Example: lets-build-gpt generate pretrained:shakespeare --prompt "ROMEO:" --max-new-tokens 300
    """

    run: RunArgument
    """Run folder, or `pretrained:shakespeare`."""
    prompt: str | None = None
    """Text to continue, or `-` for stdin; where stdin is no terminal, a line break by default."""
    max_new_tokens: int | None = None
    """Characters to generate; by default 500."""
    max_length: int | None = None
    """Characters of the result, the prompt included; excludes --max-new-tokens."""
    samples: int = 1
    """Number of continuations; sample i uses seed + i. A single one is printed while it is sampled."""
    temperature: float = 0.8
    """Divides the logits: below 1 sharper, above 1 flatter; 0 always takes the most probable character."""
    top_k: int | None = None
    """Sample among the N most probable characters; by default among all."""
    top_p: float | None = None
    """Sample among the fewest characters whose probabilities sum to P; by default among all."""
    overflow: Literal["context_shift", "crop"] = "context_shift"
    """When the context is full: keep its last half (fast), or compute all of it for every character (`crop`)."""
    seed: int = 1337
    """Seed of the sampling."""
    last: bool = False
    """Use the weights of the last checkpoint instead of those with the lowest validation loss."""
    device: str = "auto"
    """Device: cpu, cuda, mps, or auto (the first that is available of cuda, mps, cpu)."""

    def __call__(self) -> None:
        """Print the text as it is sampled."""
        self._check()
        from lets_build_gpt._common.device import pick_device
        from lets_build_gpt.checkpoint import load_run

        model, tokenizer = load_run(self.run, last=self.last)
        model.to(pick_device(self.device))
        if self.prompt == "-":
            self._continue(sys.stdin.read(), model, tokenizer)
        elif self.prompt is not None or not sys.stdin.isatty():
            self._continue(self.prompt or "", model, tokenizer)
        else:
            while True:
                try:
                    self._continue(input("> "), model, tokenizer)
                except ValueError as error:  # such as a character that the model does not know
                    say(f"error: {error}")
                except (EOFError, KeyboardInterrupt):
                    print()
                    return

    def _check(self) -> None:
        """Raise ValueError for an option out of range."""
        check_integer("seed", self.seed, 0, 2**62)
        check_integer("samples", self.samples, 1, 1000)
        for name, least in (("max_new_tokens", 0), ("max_length", 1)):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), least)
        if self.max_new_tokens is not None and self.max_length is not None:
            raise ValueError("`max_new_tokens` and `max_length` must not both be given")
        from lets_build_gpt.generate import check_sampling

        check_sampling(self.temperature, self.top_k, self.top_p)

    def _continue(self, prompt: str, model: Model, tokenizer: CharTokenizer) -> None:
        """Print a prompt and its continuations."""
        import torch

        from lets_build_gpt.generate import stream

        prompt = prompt or tokenizer.start
        device = model.token_embedding.weight.device
        try:
            ids = torch.tensor([tokenizer.encode(prompt)], device=device).expand(self.samples, -1)
        except ValueError as error:
            raise ValueError(str(error).replace("`text`", "`prompt`")) from None
        count = 500 if self.max_new_tokens is None else self.max_new_tokens
        if self.max_length is not None:
            if self.max_length < len(prompt):
                fix = "It counts the prompt; --max-new-tokens does not"
                condition = f"be an integer of at least the prompt's {len(prompt)}"
                raise invalid("max_length", condition, self.max_length, fix)
            count = self.max_length - len(prompt)
        generators = [torch.Generator(device).manual_seed(self.seed + i) for i in range(self.samples)]
        options: dict[str, Any] = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        tokens = stream(model, ids, count, generator=generators, overflow=self.overflow, **options)
        if self.samples == 1:
            print(prompt, end="", flush=True)
            for token in tokens:
                print(tokenizer.decode(token[0].tolist()), end="", flush=True)
            print()
            return
        texts = torch.cat([ids, *tokens], dim=1).tolist()
        print("\n---\n".join(tokenizer.decode(text) for text in texts))


@dataclass
class Plot:
    """Plot the losses of one or more runs in one figure.

    Example: lets-build-gpt plot runs/a runs/b --out losses.png
    """

    runs: tyro.conf.Positional[Annotated[list[Path], tyro.conf.arg(metavar="RUN ...", help_behavior_hint="(required)")]]
    """Run folders."""
    out: Path | None = None
    """Figure: .png, .svg or .pdf; by default loss_curve.png, in the run folder if there is one run."""

    def __call__(self) -> None:
        """Write the figure and print its path."""
        from lets_build_gpt.plots import plot_loss

        if not self.runs:
            raise invalid("runs", "name at least one run folder", [])
        for run in self.runs:
            check_own_folder(run)
        out = self.out or (self.runs[0] if len(self.runs) == 1 else Path()) / LOSS_CURVE
        plot_loss(self.runs, out)
        print(out)


@dataclass
class Export:
    """Write one HTML file with a trained model in it, which writes in a browser with no network.

    The page shows the text, the probabilities of the next character, and the attention of every head.

    Example: lets-build-gpt export runs/book --html --out book.html
    """

    run: RunArgument
    """Run folder, or `pretrained:shakespeare`."""
    html: bool = False
    """Write the page. It is the only format."""
    out: Path | None = None
    """HTML file; by default page.html in the run folder, or in the current one for a shipped model."""
    prompt: str | None = None
    """Text in the page's prompt; by default a line break."""
    last: bool = False
    """Use the weights of the last checkpoint instead of those with the lowest validation loss."""

    def __call__(self) -> None:
        """Write the page and print its path."""
        from lets_build_gpt.checkpoint import load_run
        from lets_build_gpt.page import export_page

        if not self.html:
            raise ValueError("`--html` must be given: it is the only format")
        out = self.out or (Path("page.html") if is_pretrained(self.run) else self.run / "page.html")
        if out.suffix != ".html":
            raise invalid("out", "end in .html", str(out))
        model, tokenizer = load_run(self.run, last=self.last)
        export_page(model, tokenizer, out, title=f"A GPT in your browser: {self.run.name}", prompt=self.prompt)
        print(out)


def read_text_option(name: str | None) -> str:
    """Return the text of the option --text."""
    from lets_build_gpt.data import load_text

    if name != "-":
        return load_text(name)
    text = sys.stdin.read().replace("\r\n", "\n").replace("\r", "\n")
    if not text:
        raise ValueError("stdin: the text is empty")
    return text
