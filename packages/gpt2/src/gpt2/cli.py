"""Command line of gpt2: the list of commands, each defined in gpt2.commands."""

from __future__ import annotations

import sys

from gpt2._common.cli import Presets, run
from gpt2.commands.inspection import Cite, Export, Inspect, Plot
from gpt2.commands.prepare import Download, Prepare
from gpt2.commands.training import CUSTOM, Demo, Finetune, train_presets
from gpt2.commands.usage import Evaluate, Generate

COMMANDS: dict[str, type | Presets] = {
    "demo": Demo,
    "prepare": Prepare,
    "train": train_presets(),
    "finetune": Finetune,
    "evaluate": Evaluate,
    "generate": Generate,
    "plot": Plot,
    "inspect": Inspect,
    "export": Export,
    "download": Download,
    "cite": Cite,
}


def main() -> None:
    """Parse the command line and run the command."""
    run(
        COMMANDS,
        prog="gpt2",
        description="GPT-2 from scratch: train, fine-tune, evaluate, and generate.",
        arguments=with_preset(sys.argv[1:]),
    )


def with_preset(arguments: list[str]) -> list[str]:
    """Name the preset of `train` where the first argument is a data folder instead of a recipe.

    >>> with_preset(["train", "data/a", "--steps", "9"])
    ['train', 'custom', 'data/a', '--steps', '9']
    """
    presets = COMMANDS["train"]
    assert isinstance(presets, Presets)
    first = arguments[1] if arguments[:1] == ["train"] and len(arguments) > 1 else "-"
    if first.startswith("-") or first in presets.values:
        return arguments
    return ["train", CUSTOM, *arguments[1:]]
