"""Commands that get data and weights: prepare, download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass
class Prepare:
    """Convert text files to token files for training.

    Accepts .txt (one document each), .jsonl with "text" (one document in each line), and the .bin files that
    `bpe encode` writes. The same command continues where an interrupted one stopped.

    Example: gpt2 prepare a.txt b.txt --out data/ab
    """

    out: Path
    """Folder for the token files."""
    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Text files."""
    tokenizer: str = "bytes"
    """`bytes`, the published vocabulary `gpt2`, or the file of a trained tokenizer."""
    held_out: float = 0.1
    """Fraction of the tokens at the end that is kept for validation."""
    workers: int = 1
    """Number of processes."""

    def __call__(self) -> None:
        """Write the token files and print their size."""
        from gpt2.data.prepare import prepare

        index = prepare(self.files, self.out, self.tokenizer, held_out=self.held_out, workers=self.workers)
        documents = index["documents"]
        print(f"{self.out}: {index['tokens']:,} tokens in {documents:,} document{'s' * (documents != 1)}")


@dataclass
class Download:
    """Download OpenAI's weights (548 MB for 124M) into a folder.

    The file is checked against a pinned SHA-256. An interrupted download resumes.

    Example: gpt2 download 124M --out models/gpt2-124M
    """

    size: tyro.conf.Positional[Literal["124M"]]
    """Size of the model."""
    out: Path | None = None
    """Folder; models/gpt2-SIZE by default."""
    url: str | None = None
    """Address of a mirror of the file, which must have the same SHA-256."""

    def __call__(self) -> None:
        """Download and print the folder."""
        from gpt2._common.progress import Progress
        from gpt2.pretrained.download import PUBLISHED, download

        out = self.out or Path(f"models/gpt2-{self.size}")
        with Progress(PUBLISHED[self.size].size, unit="B") as bar:
            print(download(self.size, out, self.url, lambda done, total: bar.update(done)))
