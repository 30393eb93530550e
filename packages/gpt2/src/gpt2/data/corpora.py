"""Texts of the recipes, and their token files."""

from __future__ import annotations

from pathlib import Path

from gpt2._common.atomic import write_text
from gpt2._common.optional import require
from gpt2.data.prepare import prepare
from gpt2.recipes import RecipeData

TEST_FRACTION = 0.1  # of tiny shakespeare, at its end: neither trained on nor used for validation


def python_docs() -> str:
    """Return the language reference and library topics that every Python has: about 700 kB of English."""
    from pydoc_data.topics import topics

    return "\n\n".join(text for _, text in sorted(topics.items()))


def recipe_text(data: RecipeData) -> tuple[str, str]:
    """Return the training text of a recipe (validation included) and its test text, which may be empty.

    Raises: MissingDependencyError where dlpapers-shared has to download the text.
    """
    if data.text == "python-docs":
        return python_docs(), ""
    text: str = require("dlpapers_shared.data", "tiny shakespeare").read_text("text/tinyshakespeare.txt")
    cut = int(len(text) * (1 - TEST_FRACTION))
    return text[:cut], text[cut:]


def write_recipe_data(data: RecipeData, folder: Path) -> Path:
    """Write text, tokenizer, and token files of a recipe to a folder; return it.

    Raises: MissingDependencyError where dlpapers-bpe has to train the tokenizer.
    """
    text, test = recipe_text(data)
    name = "bytes"
    source = folder / "text.txt"
    if not source.exists() or source.read_text(encoding="utf-8") != text:
        write_text(source, text)  # an unchanged file keeps its shards
    if test:
        write_text(folder / "test.txt", test)
    if data.tokenizer == "bpe":
        bpe = require("bpe", "training a BPE tokenizer", distribution="dlpapers-bpe")
        path = folder / "bpe.json"
        if not path.exists():
            bpe.train_from_iterator([text], vocab_size=data.vocab_size, special_tokens=["<|endoftext|>"]).save(path)
        name = str(path)
    prepare([source], folder, name, held_out=data.held_out)
    return folder
