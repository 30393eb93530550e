"""Attention Is All You Need: train a Transformer on parallel text, translate, score."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from transformer_torch.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from transformer_torch.train import Metrics, Trainer


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _progress(trainer: Trainer) -> Callable[[Metrics], None]:
    """A bar on a terminal; a line for each validation anywhere. Ctrl-C ends the run after the present update."""
    import signal

    from tqdm import tqdm

    steps = trainer.config.steps
    bar = tqdm(total=steps, initial=trainer.progress.step, unit="step", disable=None if trainer.rank == 0 else True)

    def end(*_: object) -> None:
        trainer.stop = True

    signal.signal(signal.SIGINT, end)

    def report(metrics: Metrics) -> None:
        bar.update()
        bar.set_postfix(loss=f"{metrics['loss']:.3f}")
        if "val_loss" in metrics and trainer.rank == 0:
            cpu = trainer.progress.cpu_seconds
            line = f"step {metrics['step']:,}  loss {metrics['loss']:.3f}  validation {metrics['val_loss']:.4f}"
            bar.write(f"{line}  {metrics['tokens_per_second']:,.0f} tokens/s  {cpu:,.0f} CPU-s", file=sys.stderr)
        if metrics["step"] == steps or trainer.stop:
            bar.close()

    return report


def _carry_out(recipe: Recipe, out: Path, resume: bool) -> Any:
    import signal

    from transformer_torch.run import prepare
    from transformer_torch.translate import Translator

    trainer, vocabulary = prepare(recipe, out, resume)
    if trainer.rank == 0:
        _say(f"{len(trainer.pairs):,} pairs, vocabulary {len(vocabulary):,}, {trainer.model.n_parameters:,} parameters")
    before = signal.getsignal(signal.SIGINT)
    try:
        model = trainer.run(_progress(trainer))
    finally:
        signal.signal(signal.SIGINT, before)
    if trainer.stop:
        _say(f"stopped at step {trainer.progress.step:,}; go on with: transformer-torch train --resume --out {out}")
    return Translator(model, vocabulary)


def _draw(run: Path, *draw: Callable[[], Path]) -> None:
    """Pictures where they can be had."""
    from transformer_torch.pictures import HOW, viz

    try:
        viz()
    except ValueError:
        _say(f"no pictures: {HOW}")
        return
    for picture in draw:
        _say(f"wrote {picture()}")


@dataclass
class Train:
    """Train on parallel text, or without any on generated dates; see the recipes."""

    recipe: tyro.conf.OmitArgPrefixes[Recipe]
    """What to train."""
    out: Path = Path("runs/transformer")
    """Folder of the run."""
    resume: bool = False
    """Go on with the run in --out, by its own recipe."""

    def __call__(self) -> None:
        """Train, then draw the curve."""
        from transformer_torch.parallel import processes
        from transformer_torch.pictures import draw_curve

        with processes() as rank:
            _carry_out(self.recipe, self.out, self.resume)
        if rank == 0:
            _say(f"wrote {self.out / 'model.safetensors'}")
            _draw(self.out, lambda: draw_curve(self.out))


@dataclass
class Demo:
    """Learn to read dates in one to two CPU-minutes; then, on a terminal, type some."""

    out: Path = Path("runs/dates")
    """Folder of the run; a finished one is used again."""

    def __call__(self) -> None:
        """Train, test, show."""
        from transformer_torch.dates import date_corpus
        from transformer_torch.pictures import draw_attention, draw_curve

        translator = _carry_out(RECIPES["dates"][1], self.out, (self.out / "state.safetensors").exists())
        test = date_corpus(500, seed=1, held_out=True)
        found = translator.translate(test.src, beam=1)
        right = sum(a == b for a, b in zip(found, test.tgt, strict=True))
        for src, iso in list(zip(test.src, found, strict=True))[:8]:
            print(f"{src:>36}  ->  {iso}")
        print(f"{right} of {len(test)} dates of days never seen in training are exactly right")
        line = "Donnerstag, 14. März 2024"
        _draw(self.out, lambda: draw_curve(self.out), lambda: draw_attention(self.out, translator, line))
        if sys.stdin.isatty():
            print("Type a date (an empty line ends):")
            while line := input("> ").strip():
                try:
                    print(translator.translate([line], beam=1)[0])
                except ValueError as error:
                    _say(f"error: {error}")


@dataclass
class Translate:
    """Translate lines from standard input or a file, in order, as they come."""

    run: tyro.conf.Positional[Path]
    """Folder of a run."""
    input: Path | None = None
    """A file of lines; else standard input."""
    beam: int = 4
    """Hypotheses; 1: greedy."""
    alpha: float = 0.6
    """Length penalty: above 0 favours longer translations."""
    nbest: int = 1
    """Translations of each line, with scores, divided by tabs, if above 1."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights."""

    def __call__(self) -> None:
        """One line of output for each line of input (nbest lines with --nbest)."""
        from transformer_torch.allocator import keep_memory
        from transformer_torch.corpus import read_lines
        from transformer_torch.translate import Translator

        keep_memory()
        if self.nbest > max(1, self.beam):
            raise ValueError(f"nbest: {self.nbest} of a beam of {self.beam}")
        translator = Translator.load(self.run, self.device, self.dtype)
        lines = (line.rstrip("\r\n") for line in sys.stdin) if self.input is None else read_lines(self.input)
        if self.nbest == 1:
            at_once = 1 if self.input is None and sys.stdin.isatty() else 512
            for line in translator.stream(lines, self.beam, self.alpha, at_once):
                print(line, flush=True)
            return
        for number, pool in enumerate(translator.nbest(list(lines), self.beam, self.alpha), 1):
            for text, score in pool[: self.nbest]:
                print(f"{number}\t{score:.4f}\t{text}")


@dataclass
class Score:
    """sacreBLEU and chrF of a translation, with the signatures that make them comparable."""

    hypothesis: tyro.conf.Positional[Path]
    """Lines of the translation."""
    reference: tyro.conf.Positional[Path]
    """Lines of the reference."""

    def __call__(self) -> None:
        """Two lines on standard output."""
        from transformer_torch.score import scores

        for line in scores(self.hypothesis, self.reference):
            print(line)


@dataclass
class Average:
    """Mean of the weights of several runs or checkpoints of one model (section 6.1)."""

    weights: tyro.conf.Positional[tuple[Path, ...]]
    """Files model.safetensors."""
    out: Path
    """The file to write."""

    def __call__(self) -> None:
        """Write one file."""
        from transformer_torch.average import average_files
        from transformer_torch.files import write_tensors

        write_tensors(self.out, average_files(list(self.weights)))
        _say(f"wrote {self.out}")


@dataclass
class Plot:
    """The curve of a run, and where its decoder looks in a line."""

    run: tyro.conf.Positional[Path]
    """Folder of a run."""
    line: str | None = None
    """A source line, for the picture of the attention."""

    def __call__(self) -> None:
        """Write curve.png and attention.png into the folder."""
        from transformer_torch.pictures import draw_attention, draw_curve
        from transformer_torch.translate import Translator

        _say(f"wrote {draw_curve(self.run)}")
        if self.line is not None:
            _say(f"wrote {draw_attention(self.run, Translator.load(self.run), self.line)}")


def _recipe_named(arguments: list[str]) -> list[str]:
    """Arguments of `train`, with a recipe if they name none: dates where no text is given, else small."""
    if arguments and arguments[0] in (*RECIPES, "-h", "--help"):
        return arguments
    text = any(argument.split("=")[0] in ("--src", "--data") for argument in arguments)
    return ["small" if text else "dates", *arguments]


def _parsed(arguments: list[str]) -> Callable[[], None]:
    """The command that some arguments ask for; tyro ends the process with status 2 where they ask for none."""
    if arguments[:1] == ["train"]:
        recipes: Any = tyro.extras.subcommand_type_from_defaults(
            {name: Train(recipe) for name, (_, recipe) in RECIPES.items()},
            {name: about for name, (about, _) in RECIPES.items()},
        )
        parsed: Callable[[], None] = tyro.cli(
            recipes, prog="transformer-torch train", description=Train.__doc__, args=_recipe_named(arguments[1:])
        )
        return parsed
    commands: dict[str, Callable[..., Any]] = {
        "demo": Demo,
        "train": Train,
        "translate": Translate,
        "score": Score,
        "average": Average,
        "plot": Plot,
    }
    command: Callable[[], None] = tyro.extras.subcommand_cli_from_dict(
        commands, prog="transformer-torch", description=__doc__, args=arguments
    )
    return command


def main() -> None:
    """Parse the command line and run it; bad input is one line on stderr and exit status 2."""
    command = _parsed(sys.argv[1:])
    try:
        command()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
