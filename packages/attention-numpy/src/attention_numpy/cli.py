"""The commands: demo, train, evaluate, translate, generate, gradcheck, plot."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from attention_numpy._common.cli import Presets, run, say
from attention_numpy._common.errors import invalid
from attention_numpy._common.pretrained import check_own_folder, is_pretrained
from attention_numpy.config import DataConfig, ModelConfig, Norm, TrainConfig
from attention_numpy.recipes import DEMO, RECIPES
from attention_numpy.session import PROG, draw, fit, lines_of, summary

if TYPE_CHECKING:
    from attention_numpy.checkpoint import Run

# One thread: the matrices are so small that OpenBLAS' second thread costs several times what it saves.
BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
Words = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[TEXT ...]")]


@dataclass
class Demo:
    """Learn to translate English number words to German ones, then translate yours.

    Example: attention-numpy demo
    """

    out: Path = Path("runs/attention-numpy-demo")
    """Run folder. A finished demo there is used again."""
    resume: bool = False
    """Continue an interrupted demo."""
    overwrite: bool = False
    """Train again, and replace the run in `--out`."""
    seed: int = 0
    """Seed of the parameters and the batches."""

    def __call__(self) -> None:  # noqa: D102
        from attention_numpy._common.malloc import keep_freed_memory
        from attention_numpy._common.run_folder import claim_run_folder, has_checkpoint
        from attention_numpy.checkpoint import Run, load_run, read_config, saved_step
        from attention_numpy.demo import CROSSING, EXAMPLES, shortened
        from attention_numpy.train import Trainer

        done = has_checkpoint(self.out) and saved_step(self.out) >= read_config(self.out).train.steps
        if done and not self.overwrite:
            say(f"{self.out}: the demo is trained already. `{PROG} demo --overwrite` trains it again")
            loaded = load_run(self.out)
            for text in EXAMPLES:
                print(f"{text}\n  {loaded.translate(text)}")
        else:
            resumed = claim_run_folder(self.out, resume=self.resume, overwrite=self.overwrite)
            keep_freed_memory()
            train = replace(DEMO.train, seed=self.seed)
            trainer = Trainer(DEMO.model, train, DEMO.data)
            say(f"{trainer.model.num_parameters():,} parameters, {train.steps} steps, run folder {self.out}")
            fresh = Run(trainer.config, trainer.source.tokenizer, trainer.model)
            before = [shortened(fresh.translate(text)) for text in EXAMPLES]
            if resumed:
                trainer.load(self.out)
            metrics = fit(trainer, self.out, self.overwrite)
            loaded = load_run(self.out)
            for text, old in zip(EXAMPLES, before, strict=True):
                print(f"{text}\n  before: {old}\n  after:  {loaded.translate(text)}")
            print(summary(metrics))
            draw(loaded, self.out, CROSSING)
        if sys.stdin.isatty():
            ask(loaded)
        say(f'Next: {PROG} translate {self.out} "ninety-nine thousand and one"')


def ask(loaded: Run) -> None:
    """Translate what is typed until an empty line."""
    say("Type a number below a million, in digits or words (an empty line ends):")
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            return
        if not line:
            return
        try:
            print(f"  {loaded.translate(line)}")
        except ValueError as error:
            say(f"  {error}")


@dataclass(frozen=True)
class Train:
    """Train a model.

    Example: attention-numpy train reverse --steps 500
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)
    out: Path | None = None
    """Run folder. None: runs/attention-numpy-RECIPE."""
    resume: bool = False
    """Continue from the checkpoint in `--out`: same batches and losses as an uninterrupted run."""
    overwrite: bool = False
    """Replace the run in `--out`."""
    extend: int | None = None
    """With `--resume`: continue a finished run for this many more steps."""
    detect_anomaly: bool = False
    """Stop at the first NaN or infinity with the name of the layer that produced it (slower)."""
    recipe: Annotated[str, tyro.conf.Suppress] = "number-words"

    def __call__(self) -> None:  # noqa: D102
        from attention_numpy._common.malloc import keep_freed_memory
        from attention_numpy._common.run_folder import claim_run_folder
        from attention_numpy.checkpoint import load_run
        from attention_numpy.data import Task
        from attention_numpy.train import Trainer, resumed_config

        if self.extend is not None and not self.resume:
            raise ValueError("`extend` must be used with --resume")
        name = self.recipe if self.data.task == RECIPES[self.recipe].data.task else self.data.task
        out = self.out or Path("runs") / f"{PROG}-{name}"
        resumed = claim_run_folder(out, resume=self.resume, overwrite=self.overwrite)
        train = resumed_config(out, self.train, self.extend) if resumed else self.train
        keep_freed_memory()
        trainer = Trainer(self.model, train, self.data, detect_anomalies=self.detect_anomaly)
        if resumed:
            trainer.load(out)
            if trainer.step_number >= train.steps:
                say(f"{out}: already finished ({train.steps} steps). Add --extend N to continue it")
                return
        say(f"{self.data.task}: {trainer.model.num_parameters():,} parameters, {train.steps} steps, run folder {out}")
        print(summary(fit(trainer, out, self.overwrite)))
        loaded = load_run(out)
        example = None
        if isinstance(loaded.tokenizer, Task):
            source = loaded.tokenizer.held_out_pairs(trainer.rng, 1)[0][0]
            example = loaded.tokenizer.separator.join(source)
        draw(loaded, out, example)


def _recipes() -> Presets:
    """Return `train RECIPE`: one preset per recipe."""
    values = {
        name: (recipe.description, Train(recipe.model, recipe.train, recipe.data, recipe=name))
        for name, recipe in RECIPES.items()
    }

    def default(arguments: Sequence[str]) -> str:
        return "text" if any(a.split("=")[0] == "--text" for a in arguments) else "number-words"

    return Presets("Train a recipe: number words, letters, sums, or your own text.", values, default)


@dataclass
class Evaluate:
    """Print the held-out loss of a run and, for a task, the exact match.

    Example: attention-numpy evaluate runs/attention-numpy-demo --eval-count 2000
    """

    run: RunFolder
    """Run folder, or `pretrained:number-words`."""
    eval_count: int = 500
    """Held-out examples."""

    def __call__(self) -> None:  # noqa: D102
        from attention_numpy._common.errors import check_integer
        from attention_numpy.checkpoint import load_run
        from attention_numpy.data.source import open_source
        from attention_numpy.evaluate import evaluate

        check_integer("eval_count", self.eval_count, 1)
        loaded = load_run(self.run)
        source = open_source(loaded.config.data, self.eval_count)
        if source.fingerprint != loaded.config.fingerprint:
            raise ValueError(f"{loaded.config.data.text}: has changed since {self.run} was trained on it")
        print(summary(evaluate(loaded.model, source)))


@dataclass
class Translate:
    """Translate text with a run of an encoder-decoder, one line of output per line of input.

    Example: attention-numpy translate pretrained:number-words "forty-two"
    """

    run: RunFolder
    """Run folder, or `pretrained:number-words`."""
    text: Words = ()
    """Text to translate; `-` or nothing reads lines from stdin."""
    beam_size: int = 1
    """Hypotheses of the beam search. 1 is greedy decoding."""

    def __call__(self) -> None:  # noqa: D102
        from attention_numpy._common.errors import check_integer
        from attention_numpy.checkpoint import load_run

        check_integer("beam_size", self.beam_size, 1)
        loaded = load_run(self.run)
        if loaded.is_language_model:
            raise ValueError(f"{self.run}: holds a language model, which does not translate. Use `{PROG} generate`")
        for line in lines_of(self.text):
            print(loaded.translate(line, self.beam_size), flush=True)


@dataclass
class Export:
    """Write one HTML file with a trained encoder-decoder in it, which translates in a browser with no network.

    The page shows the cross-attention, the probabilities of each token, and the hypotheses of a beam search.

    Example: attention-numpy export runs/attention-numpy-demo --html --out numbers.html
    """

    run: RunFolder
    """Run folder, or `pretrained:number-words`."""
    html: bool = False
    """Write the page. It is the only format."""
    out: Path | None = None
    """HTML file; by default page.html in the run folder, or in the current one for a shipped model."""
    text: str | None = None
    """Text that the page translates first; by default a held-out input."""

    def __call__(self) -> None:  # noqa: D102
        from attention_numpy.checkpoint import load_run
        from attention_numpy.page import export_page

        if not self.html:
            raise ValueError("`--html` must be given: it is the only format")
        out = self.out or (Path("page.html") if is_pretrained(self.run) else self.run / "page.html")
        if out.suffix != ".html":
            raise invalid("out", "end in .html", str(out))
        export_page(load_run(self.run), out, title=f"A Transformer in NumPy: {self.run.name}", text=self.text)
        print(out)


@dataclass
class Generate:
    """Continue a text with a run of a language model.

    Example: attention-numpy generate runs/attention-numpy-text "Once upon" --max-new-tokens 200
    """

    run: RunFolder
    """Run folder."""
    text: Words = ()
    """Text to continue; `-` or nothing reads lines from stdin."""
    max_new_tokens: int = 300
    """Characters to generate."""
    temperature: float = 0.8
    """Sampling temperature. 0 is greedy decoding."""
    top_k: int | None = None
    """Sample from the k most probable characters only."""
    seed: int = 0
    """Seed of the sampling."""

    def __call__(self) -> None:  # noqa: D102
        from attention_numpy._common.errors import check_integer
        from attention_numpy.checkpoint import load_run
        from attention_numpy.config import MAX_SEED
        from attention_numpy.data import CharTokenizer
        from attention_numpy.generate import check_sampling
        from attention_numpy.language_model import LanguageModel
        from attention_numpy.layers import new_rng

        check_integer("seed", self.seed, 0, MAX_SEED)
        check_sampling(self.max_new_tokens, self.temperature, self.top_k, None)
        loaded = load_run(self.run)
        model, tokenizer = loaded.model, loaded.tokenizer
        if not isinstance(model, LanguageModel) or not isinstance(tokenizer, CharTokenizer):
            raise ValueError(f"{self.run}: holds an encoder-decoder, not a language model. Use `{PROG} translate`")
        for line in lines_of(self.text):
            prompt = tokenizer.encode(line or "\n")
            print(line, end="", flush=True)
            for token in model.stream(
                prompt,
                self.max_new_tokens,
                temperature=self.temperature,
                top_k=self.top_k,
                generator=new_rng(self.seed),
            ):
                print(tokenizer.decode([token]), end="", flush=True)
            print()


@dataclass
class Gradcheck:
    """Compare every gradient of a small model with finite differences. The exit status is 1 if any is wrong.

    Example: attention-numpy gradcheck --norm pre
    """

    norm: Norm = "post"
    """Place of LayerNorm: `post` as in the paper, or `pre`."""
    tie_embeddings: bool = False
    """Share one matrix between both embeddings and the pre-softmax map."""
    dropout: float = 0.0
    """Dropout probability, in [0, 1); the masks are held fixed."""
    label_smoothing: float = 0.1
    """Label smoothing, in [0, 1]."""
    seed: int = 0
    """Seed of the parameters, the data and the directions."""

    def __call__(self) -> None:  # noqa: D102
        from attention_numpy.gradcheck import check_model, table

        rows = check_model(self.norm, self.tie_embeddings, self.dropout, self.label_smoothing, self.seed)
        print(table(rows))
        if not all(row.error < 1e-6 for row in rows):
            sys.stdout.flush()
            sys.exit(1)


@dataclass
class Plot:
    """Draw a run: its losses and, for a given text, the cross-attention. Needs matplotlib.

    Example: attention-numpy plot runs/attention-numpy-demo "forty two"
    """

    run: RunFolder
    """Run folder, which receives loss_curve.png and cross_attention.png."""
    text: Words = ()
    """Source text for the cross-attention figure. Without it, only the losses are plotted."""

    def __call__(self) -> None:  # noqa: D102
        from attention_numpy.checkpoint import load_run
        from attention_numpy.plots import plot_run

        check_own_folder(self.run)
        for path in plot_run(load_run(self.run), self.run, " ".join(self.text) or None):
            print(path)


COMMANDS: dict[str, type | Presets] = {
    "demo": Demo,
    "train": _recipes(),
    "evaluate": Evaluate,
    "translate": Translate,
    "generate": Generate,
    "export": Export,
    "gradcheck": Gradcheck,
    "plot": Plot,
}


def main() -> None:
    """Run the command line."""
    for name in BLAS_THREADS:  # before NumPy is imported, which reads them once
        os.environ.setdefault(name, "1")
    run(COMMANDS, prog=PROG, description='"Attention Is All You Need" in NumPy: train, translate, check gradients.')
