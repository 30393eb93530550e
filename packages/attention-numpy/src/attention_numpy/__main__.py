"""Attention Is All You Need with nothing but NumPy: train it, use it, check its gradients, look at its attention."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from attention_numpy.objectives import TrainConfig
from attention_numpy.recipes import DEMO, RECIPES
from attention_numpy.tasks import TaskName

EXAMPLES = ["forty two", "three hundred sixty five", "nine hundred eighty seven thousand six hundred fifty four"]
CROSSING = "three hundred forty two thousand five hundred sixty one"


def say(text: str) -> None:
    """A message; results alone go to stdout."""
    print(text, file=sys.stderr, flush=True)


def progress(trainer: Any, eval_every: int | None, eval_count: int, out: Path) -> dict[str, float]:
    """Run a trainer under a progress bar, which is shown on a terminal only."""
    from tqdm import tqdm

    total = trainer.config.steps
    with tqdm(total=total, initial=trainer.step_number, unit="step", disable=not sys.stderr.isatty()) as bar:

        def on_step(metrics: dict[str, float]) -> None:
            bar.update()
            bar.set_postfix(loss=f"{metrics['loss']:.3f}", cpu=f"{metrics['seconds']:.0f}s", refresh=False)
            if "val_loss" in metrics:
                bar.write(summary(metrics), file=sys.stderr)

        found: dict[str, float] = trainer.run(out, eval_every=eval_every, eval_count=eval_count, on_step=on_step)
        return found


def summary(metrics: dict[str, float]) -> str:
    """One line about a measured step."""
    match = f", exact match {metrics['exact_match']:.2%}" if "exact_match" in metrics else ""
    return (
        f"step {metrics['step']}: held-out loss {metrics['val_loss']:.4f}{match}, {metrics['seconds']:.1f} CPU-seconds"
    )


def pictures(run: Any, out: Path, text: str | None) -> None:
    """Draw what can be drawn of a run, and say where it lies, or how to get it."""
    from attention_numpy.pictures import NoPicturesError, draw_cross_attention, draw_curve

    try:
        say(f"wrote {draw_curve(out)}")
        if text is not None:
            say(f"wrote {draw_cross_attention(run, text, out / 'cross-attention.png')}")
    except NoPicturesError as error:
        say(f"no {error}")


def interrupted(out: Path) -> None:
    """Say what an interrupted training left."""
    say(f"\ninterrupted; {out} holds a checkpoint, --resume goes on from it")
    sys.exit(130)


@dataclass
class Demo:
    """Learn to translate English number words to German ones in under 30 CPU-seconds, then translate yours."""

    out: Path = Path("runs/demo")
    seed: int = 0

    def __call__(self) -> None:
        """Train, show examples before and after, draw, ask."""
        from dataclasses import replace

        from attention_numpy.allocator import reuse_memory
        from attention_numpy.training import Trainer, load_run

        reuse_memory()
        trainer = Trainer(replace(DEMO, seed=self.seed))
        say(f"{len(trainer.model.parameters()):,} parameters, {DEMO.steps} steps; numbers never seen are held out")
        before = [translation(trainer.model, trainer.objective, text) for text in EXAMPLES]
        try:
            metrics = progress(trainer, 100, 250, self.out)
        except KeyboardInterrupt:
            interrupted(self.out)
        for text, old in zip(EXAMPLES, before, strict=True):
            print(f"{text}\n  before: {old}\n  after:  {translation(trainer.model, trainer.objective, text)}")
        seconds = metrics["seconds"]
        exact = trainer.evaluate(2000)["exact_match"]
        print(f"exact match on 2,000 unseen numbers: {exact:.2%} after {seconds:.1f} CPU-seconds of training")
        pictures(load_run(self.out), self.out, CROSSING)
        if sys.stdin.isatty():
            ask(trainer)


def ask(trainer: Any) -> None:
    """Translate what is typed, digits or words, until an empty line."""
    from attention_numpy.tasks import english

    say("a number below a million, in digits or words (an empty line ends):")
    while True:
        try:
            line = input("> ").strip().lower()
        except EOFError:
            return
        if not line:
            return
        if line.isascii() and line.isdigit():
            if int(line) >= 1_000_000:
                say("only numbers below a million were learned")
                continue
            line = " ".join(english(int(line)))
            print(f"  {line}")
        try:
            print(f"  {translation(trainer.model, trainer.objective, line)}")
        except ValueError as error:
            say(f"  {error}")


def translation(model: Any, objective: Any, text: str, beam: int = 1) -> str:
    """What the model makes of a text."""
    from attention_numpy.tasks import BOS, EOS

    found: str = objective.task.decode(model.generate(objective.task.encode(text), bos=BOS, eos=EOS, beam=beam)[0])
    return found


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a recipe; every number of it can be overridden."""

    task: Annotated[TaskName | Literal["text"], tyro.conf.Suppress] = "number-words"
    out: Path | None = None
    """Where the run is kept; runs/RECIPE by default."""
    resume: bool = False
    """Go on from the checkpoint in --out: the same batches and losses as if it had not stopped."""
    detect_anomaly: bool = False
    """Stop at the first NaN or infinity with the name of the layer that made it (slower)."""
    eval_every: int = 200
    """Steps between evaluations, each of which leaves a checkpoint."""
    eval_count: int = 500

    def __call__(self) -> None:
        """Train to the end."""
        from attention_numpy.allocator import reuse_memory
        from attention_numpy.training import Trainer, load_run

        if self.eval_every < 1 or self.eval_count < 1:
            raise ValueError(f"eval_every: {self.eval_every}, eval_count: {self.eval_count} met, at least 1 is needed")
        own = {f for f in asdict(self) if f in TrainConfig.__dataclass_fields__}
        config = TrainConfig(**{name: getattr(self, name) for name in own})
        out = self.out or Path("runs") / (config.task if config.digits == 3 else f"{config.task}-{config.digits}")
        reuse_memory()
        trainer = Trainer(config, anomalies=self.detect_anomaly)
        if self.resume:
            trainer.restore(out)
        say(f"{config.task}: {len(trainer.model.parameters()):,} parameters, {config.steps} steps; to {out}")
        try:
            metrics = progress(trainer, self.eval_every, self.eval_count, out)
        except KeyboardInterrupt:
            interrupted(out)
        if not metrics:
            raise ValueError(f"resume: the run in {out} has done its {config.steps} steps")
        print(summary(metrics))
        run = load_run(out)
        example = None
        if config.task != "text":
            source = run.objective.task.pairs(trainer.rng, 1, "held-out")[0][0]  # type: ignore[union-attr]
            example = run.objective.task.joint.join(source)  # type: ignore[union-attr]
        pictures(run, out, example)


@dataclass
class Translate:
    """What a trained run makes of a text: an encoder-decoder translates it, a language model continues it."""

    text: tyro.conf.Positional[tuple[str, ...]] = ()
    """Without it, each line of the standard input."""
    run: Path = Path("runs/demo")
    beam: int = 1
    length: int = 300
    """Characters to write (language models)."""
    temperature: float = 0.8
    """Of the sampling (language models)."""
    seed: int = 0

    def __call__(self) -> None:
        """One line of output a line of input."""
        from attention_numpy.objectives import TextObjective
        from attention_numpy.training import load_run

        found = load_run(self.run)
        for line in [" ".join(self.text)] if self.text else sys.stdin:
            if isinstance(found.objective, TextObjective):
                prompt = found.objective.encode(line.rstrip("\n") or "\n")
                ids = found.model.generate(prompt, self.length, temperature=self.temperature, seed=self.seed)
                print(found.objective.decode([*prompt, *ids]))
            else:
                print(translation(found.model, found.objective, line.strip(), self.beam))


@dataclass
class Gradcheck:
    """Compare every gradient of a small model, analytic against numeric, and print the table."""

    norm: Literal["post", "pre"] = "post"
    tie_embeddings: bool = False
    dropout: float = 0.0
    label_smoothing: float = 0.1
    seed: int = 0

    def __call__(self) -> None:
        """Print a line for each parameter; exit status 1 if any gradient is wrong."""
        from attention_numpy.gradcheck import check_model, table

        rows = check_model(self.norm, self.tie_embeddings, self.dropout, self.label_smoothing, self.seed)
        print(table(rows))
        if not all(row.error < 1e-6 for row in rows):
            sys.exit(1)


@dataclass
class Plot:
    """Draw a run: its curve, and where the decoder looks in the source while it writes (needs dlpapers-shared)."""

    text: tyro.conf.Positional[tuple[str, ...]] = ()
    """The source whose cross-attention is drawn; without it, only the curve."""
    run: Path = Path("runs/demo")

    def __call__(self) -> None:
        """Write curve.png and cross-attention.png into the run's folder."""
        from attention_numpy.pictures import draw_cross_attention, draw_curve
        from attention_numpy.training import load_run

        found = load_run(self.run)
        print(draw_curve(self.run))
        if self.text:
            print(draw_cross_attention(found, " ".join(self.text), self.run / "cross-attention.png"))


def train_recipes() -> Any:
    """`train RECIPE`: one subcommand a recipe, whose defaults are the recipe's."""
    defaults = {}
    for name, (config, _) in RECIPES.items():
        values = asdict(config) | ({"text": tyro.MISSING} if config.task == "text" else {})
        defaults[name] = Train(**values)
    told = {name: about for name, (_, about) in RECIPES.items()}
    return tyro.extras.subcommand_type_from_defaults(defaults, told, prefix_names=False)


def with_recipe(arguments: list[str]) -> list[str]:
    """`train --text FILE` and a bare `train` get the recipe that they mean."""
    if arguments[:1] != ["train"] or (len(arguments) > 1 and not arguments[1].startswith("-")):
        return arguments
    if {"-h", "--help"} & set(arguments):
        return arguments
    text = any(a.split("=")[0] == "--text" for a in arguments)
    return ["train", "text" if text else "number-words", *arguments[1:]]


def main() -> None:
    """Parse the command line and run it; bad input is one line on stderr and exit status 2."""
    recipes = train_recipes()
    choices: Any = (
        Annotated[Demo, tyro.conf.subcommand("demo")]
        | Annotated[recipes, tyro.conf.subcommand("train", description="Train a recipe.")]
        | Annotated[Translate, tyro.conf.subcommand("translate")]
        | Annotated[Gradcheck, tyro.conf.subcommand("gradcheck")]
        | Annotated[Plot, tyro.conf.subcommand("plot")]
    )
    command = tyro.cli(choices, prog="attention-numpy", description=__doc__, args=with_recipe(sys.argv[1:]))
    try:
        command()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
