"""Count a corpus on a Dask cluster and train on the counts.

    python count_on_dask.py a.txt b.txt                                   # a cluster on this machine
    python count_on_dask.py --scheduler tcp://head-node:8786 /shared/*.txt    # workers that see the same files

Workers receive spans of files and return counts, which are added in the order of the corpus. So the tokenizer is
exactly the one that a single machine would train.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import bpe
from bpe.engines.choice import choose_engine
from bpe.training.corpus import spans
from bpe.training.count import count_part
from dask.distributed import Client


def count_on(
    client: Any,
    files: Iterable[str | Path],
    pattern: str | None,
    special_tokens: Sequence[str] = (),
    size: int = 1 << 26,
) -> bpe.PretokenCounts:
    """Count the pre-tokens of files on a cluster whose workers can read them.

    client: a connected `dask.distributed.Client`. size: bytes per task.
    """
    parts = [span for file in files for span in spans(Path(file).resolve(), pattern, special_tokens, size)]
    total = bpe.PretokenCounts(pattern, special_tokens=special_tokens)
    compiled = choose_engine("auto") == "numba"
    job = partial(count_part, pattern=pattern, special_tokens=tuple(special_tokens), compiled=compiled)
    for counted in client.map(job, parts):
        total.add(counted.result())
        counted.release()
    return total


def main() -> None:
    """Count, train and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--scheduler", help="address of a running scheduler; by default a cluster on this machine")
    parser.add_argument("--vocab-size", type=int, default=32768)
    parser.add_argument("--pattern", default="gpt2")
    parser.add_argument("--special-tokens", nargs="*", default=[])
    parser.add_argument("--out", default="tokenizer.json")
    options = parser.parse_args()
    with Client(options.scheduler) as client:
        counts = count_on(client, options.files, options.pattern, options.special_tokens)
    tokenizer = bpe.train_from_counts(counts, vocab_size=options.vocab_size, special_tokens=options.special_tokens)
    tokenizer.save(options.out)


if __name__ == "__main__":
    main()
