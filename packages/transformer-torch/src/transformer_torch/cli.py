"""Command line: train a Transformer on parallel text, translate, and score."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from transformer_torch._common.cli import Presets, run, say
from transformer_torch._common.errors import (
    check_integer,
    check_not_negative,
    invalid,
)
from transformer_torch._common.pretrained import check_own_folder
from transformer_torch.cli_train import PROG, TRAIN, draw, run_training
from transformer_torch.config import Dtype
from transformer_torch.recipes import RECIPES

if TYPE_CHECKING:
    from transformer_torch.inference.translate import Translator

LINES_AT_ONCE = 512


@dataclass
class Demo:
    """Learn to read dates in seven languages: 1-2 CPU-minutes, no dataset needed.

    A finished demo is used again; an interrupted one is resumed.

    Example: transformer-torch demo
    """

    out: Path = Path(f"runs/{PROG}-demo")
    """Run folder."""
    overwrite: bool = False
    """Train again, replacing the run in --out."""
    steps: int = RECIPES["dates"].train.steps
    """Optimizer steps."""
    seed: int = 0
    """Seed of the initial weights and the order of the batches."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps."""
    dtype: Dtype = "auto"
    """Autocast dtype; auto is bfloat16 where it is faster."""

    def __call__(self) -> None:
        """Train, test, show; on a terminal, read dates."""
        from transformer_torch.demo import EXAMPLE, N_TESTED, score_on_held_out_days
        from transformer_torch.plots import plot_attention, plot_loss

        recipe = RECIPES["dates"]
        decay = min(recipe.train.decay_steps, self.steps)
        train = replace(
            recipe.train, steps=self.steps, decay_steps=decay, seed=self.seed, device=self.device, dtype=self.dtype
        )
        if (self.out / "training_state.safetensors").exists() and not self.overwrite:
            say(f"using the run in {self.out}; to train again, add --overwrite")
        translator = run_training(replace(recipe, train=train), self.out, not self.overwrite, self.overwrite)
        pairs, exact = score_on_held_out_days(translator)
        for source, iso in pairs[:8]:
            print(f"{source:>36}  ->  {iso}")
        print(f"{exact} of {N_TESTED} held-out dates are exactly right")
        draw(lambda: plot_loss([self.out]), lambda: plot_attention(translator, EXAMPLE, self.out / "attention.png")[0])
        say(f"Next: echo '4. März 2021' | {PROG} translate {self.out}")
        if sys.stdin.isatty():
            _prompt(translator)


def _prompt(translator: Translator) -> None:
    """Translate what is typed, until a blank line or Ctrl-D."""
    print("Type a date (a blank line or Ctrl-D ends):")
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return
        if not line:
            return
        print(translator.translate([line], beam_size=1)[0])


@dataclass
class Translate:
    """Translate lines, in order, as they arrive.

    A line that is too long is truncated with a warning; a blank line stays blank.

    Example: transformer-torch translate runs/de-en < test.de > test.en
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder, or `pretrained:dates`."""
    input: Path = Path("-")
    """UTF-8 text, one sentence per line, .gz too; - is stdin."""
    beam_size: int = 4
    """Hypotheses of beam search; 1 is greedy decoding."""
    length_alpha: float | None = None
    """Exponent of the length norm, larger for longer translations; none: as `evaluate --store` chose, else 0.6."""
    length_norm: Literal["gnmt", "power"] = "gnmt"
    """Length norm: gnmt is ((5 + length) / 6)^alpha, as in the paper; power is length^alpha."""
    nbest: int = 1
    """Translations of each line, at most the beam size. Above 1: line number, score and text, tab-separated."""
    batch_size: int = 64
    """Sentences in a batch."""
    max_source_tokens: int | None = None
    """Longest source line in tokens; none: the longest in training. Longer lines are truncated."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps."""
    dtype: Dtype = "float32"
    """Dtype of the weights. In bfloat16 a translation may depend on the other lines of its batch."""

    def __post_init__(self) -> None:
        check_integer("beam_size", self.beam_size, 1)
        check_integer("nbest", self.nbest, 1, self.beam_size)
        check_integer("batch_size", self.batch_size, 1)
        if self.length_alpha is not None:
            check_not_negative("length_alpha", self.length_alpha)
        if self.max_source_tokens is not None:
            check_integer("max_source_tokens", self.max_source_tokens, 2)

    def __call__(self) -> None:
        """Print one line for each line of input, `nbest` lines with --nbest."""
        from transformer_torch._common.malloc import keep_freed_memory
        from transformer_torch.inference.translate import Translator

        keep_freed_memory()
        translator = Translator.load(self.run, self.device, self.dtype)
        first = 1
        for block in self._blocks():

            def warn(line: int, tokens: int, kept: int, first: int = first) -> None:
                say(f"warning: line {first + line:,} has {tokens:,} tokens; translated the first {kept:,}")

            pools = translator.nbest(
                block,
                self.beam_size,
                translator.length_alpha if self.length_alpha is None else self.length_alpha,
                self.length_norm,
                batch_size=self.batch_size,
                max_source_tokens=self.max_source_tokens,
                truncated=warn,
                at_least=self.nbest,
            )
            for number, pool in enumerate(pools, first):
                for text, score in pool[: self.nbest]:
                    print(text if self.nbest == 1 else f"{number}\t{score:.4f}\t{text}")
            sys.stdout.flush()
            first += len(block)

    def _blocks(self) -> Iterator[list[str]]:
        from transformer_torch.data.corpus import read_lines
        from transformer_torch.inference.stream import line_blocks

        if str(self.input) == "-":
            yield from line_blocks(sys.stdin, LINES_AT_ONCE)
        else:
            lines = read_lines(self.input)
            yield from (lines[i : i + LINES_AT_ONCE] for i in range(0, len(lines), LINES_AT_ONCE))


@dataclass
class Score:
    """Print BLEU and chrF of a translation, with the sacreBLEU signatures.

    Example: transformer-torch score hypothesis.en reference.en
    """

    hypothesis: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="HYPOTHESIS")]
    """Translated lines; - is stdin."""
    reference: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="REFERENCE")]
    """Reference lines."""

    def __call__(self) -> None:
        """Print two lines."""
        from transformer_torch.evaluation.bleu import score_files

        for line in score_files(self.hypothesis, self.reference):
            print(line)


@dataclass
class Evaluate:
    """Print the BLEU of a run on parallel text, for several exponents of the length norm.

    Example: transformer-torch evaluate runs/de-en --src valid.de --tgt valid.en --store
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder, or `pretrained:dates`."""
    src: Path
    """Source text."""
    tgt: Path
    """Reference translations. Not a test set, if you store the result."""
    beam_size: int = 4
    """Hypotheses of beam search."""
    length_alphas: tuple[float, ...] = (0.6, 1.0, 1.4, 1.8, 2.2, 2.6)
    """Exponents to try."""
    store: bool = False
    """Make the exponent with the highest BLEU the default of `translate` for this run."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        check_integer("beam_size", self.beam_size, 1)
        if not self.length_alphas:
            raise invalid("length_alphas", "hold at least one number", self.length_alphas)
        for alpha in self.length_alphas:
            check_not_negative("length_alphas", alpha)
        if self.store:
            check_own_folder(self.run)

    def __call__(self) -> None:
        """Print one line for each exponent."""
        from transformer_torch._common.malloc import keep_freed_memory
        from transformer_torch.data.corpus import read_parallel
        from transformer_torch.evaluation.bleu import bleu_by_alpha
        from transformer_torch.inference.translate import Translator, store_length_alpha

        keep_freed_memory()
        corpus = read_parallel(self.src, self.tgt)
        scores = bleu_by_alpha(Translator.load(self.run, self.device), corpus, self.length_alphas, self.beam_size)
        for alpha, bleu in scores.items():
            print(f"{alpha:g}\t{bleu:.2f}")
        if self.store:
            best = max(scores, key=lambda alpha: scores[alpha])
            store_length_alpha(self.run, best)
            say(f"{self.run}: the default length alpha is now {best:g}")


@dataclass
class Average:
    """Write a run whose weights are the mean of several runs of one model (section 6.1).

    Example: transformer-torch average runs/a runs/b --out runs/mean
    """

    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN ...", help_behavior_hint="(required)")
    ]
    """Run folders with equal sizes and tokenizers."""
    out: Path
    """Run folder to write; `translate` takes it like any other."""
    overwrite: bool = False
    """Replace what is in --out."""

    def __call__(self) -> None:
        """Write a run folder."""
        from transformer_torch.training.averaging import average_runs

        say(f"wrote {average_runs(self.runs, self.out, self.overwrite)}")


@dataclass
class Plot:
    """Draw the losses of a run, and with --line what its decoder attends to.

    Example: transformer-torch plot runs/de-en --line "Ein Hund läuft über die Wiese."
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    line: str | None = None
    """Source line for attention.png."""

    def __call__(self) -> None:
        """Write loss_curve.png, and attention.png with --line."""
        from transformer_torch.inference.translate import Translator
        from transformer_torch.plots import plot_attention, plot_loss

        if self.line is not None and not self.line.strip():
            raise invalid("line", "hold text", self.line)
        check_own_folder(self.run)
        say(f"wrote {plot_loss([self.run])}")
        if self.line is not None:
            figure, translation = plot_attention(Translator.load(self.run), self.line, self.run / "attention.png")
            print(translation)
            say(f"wrote {figure}")


COMMANDS: dict[str, type | Presets] = {
    "demo": Demo,
    "train": TRAIN,
    "translate": Translate,
    "evaluate": Evaluate,
    "score": Score,
    "average": Average,
    "plot": Plot,
}


def main() -> None:
    """Run the command line."""
    run(
        COMMANDS,
        prog=PROG,
        description="Attention Is All You Need: train a Transformer on parallel text, translate, score.",
    )


if __name__ == "__main__":
    main()
