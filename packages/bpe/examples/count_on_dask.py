"""Count a corpus on a Dask cluster and train on the counts.

    python count_on_dask.py a.txt b.txt                                   # a cluster on this machine
    python count_on_dask.py --scheduler tcp://head-node:8786 /shared/*.txt    # workers that see the same files

Spans of files go out, counts come back and are added in the order of the corpus; so the tokenizer is the same, to the
last merge, as one trained on a single machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import bpe
from bpe.training.corpus import spans
from bpe.training.count import count_part
from dask.distributed import Client


def count_on(client: Any, files: Iterable[str | Path], pattern: str, size: int = 1 << 26) -> bpe.PretokenCounts:
    """Counts of the files' pre-tokens; `client` is connected to a cluster whose workers can read them."""
    parts = [span for file in files for span in spans(Path(file).resolve(), pattern, size=size)]
    total = bpe.PretokenCounts(pattern)
    for counted in client.map(partial(count_part, pattern=pattern), parts):
        total.add(counted.result())
        counted.release()
    return total


def main() -> None:
    """Count, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--scheduler", help="address of a running scheduler; by default a cluster on this machine")
    parser.add_argument("--vocab-size", type=int, default=32768)
    parser.add_argument("--out", default="tokenizer.json")
    options = parser.parse_args()
    with Client(options.scheduler) as client:
        counts = count_on(client, options.files, "gpt2")
    bpe.train_from_counts(counts, vocab_size=options.vocab_size).save(options.out)


if __name__ == "__main__":
    main()
