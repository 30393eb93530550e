"""Benchmark encoding and decoding against tiktoken, Hugging Face, gigatoken and fastokens (GPT-2's vocabulary).

    DLPAPERS_CORPORA=folder python benchmarks/encode.py [PART ...]

PART is one of worst, long, python, short, decode, threads; by default all. The folder is the one that corpora.py
describes. One thread, CPU time; in each round the text is new to all libraries. Columns `× NAME` are speedups over that
baseline: > 1 means that this package is faster.
"""

from __future__ import annotations

import os

os.environ |= {
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}  # the libraries read them when they are imported

import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import bpe
import fastokens
import gigatoken
import numpy as np
import tiktoken
import tokenizers
from corpora import slices
from dlpapers_shared.timing import Comparison, compare, write_record

HERE = Path(__file__).parent
DISTRIBUTIONS = ["dlpapers-bpe", "numba", "numpy", "regex", "tiktoken", "tokenizers", "gigatoken", "fastokens"]
ROUNDS = 6
NOTE = (
    "GPT-2's vocabulary, CPU time, median of 6 interleaved rounds. × is the speedup over that baseline: > 1 means that "
    "this package is faster."
)
NOTES = {
    "threads": "GPT-2's vocabulary, wall-clock time, median of 6 interleaved rounds. × is the speedup of two threads "
    "over one."
}
Encode = Callable[[str], object]


def each(encode: Encode, texts: list[str]) -> Callable[[], object]:
    """Return a call that encodes the next text each time."""
    coming: Iterator[str] = iter(texts)
    return lambda: encode(next(coming))


def fresh(ours: Encode, baselines: dict[str, Encode], texts: list[str]) -> Comparison:
    """Compare on a text that is new to all libraries in every round; the first round is the warm-up."""
    return compare(each(ours, texts), {name: each(call, texts) for name, call in baselines.items()}, len(texts) - 1)


def many(encode: Encode) -> Callable[[list[str]], None]:
    """Return a call that encodes each of many texts."""

    def run(texts: list[str]) -> None:
        for text in texts:
            encode(text)

    return run


def new_tokenizer(engine: Literal["python", "numba"]) -> bpe.Tokenizer:
    """Return GPT-2's tokenizer with an empty cache; `get_encoding` returns one object for all."""
    tokenizer = bpe.get_encoding("gpt2", engine=engine)
    return bpe.Tokenizer(tokenizer.ranks, special_tokens=tokenizer.special_tokens, engine=engine)


class Sides:
    """The tokenizers of all libraries, with GPT-2's vocabulary."""

    def __init__(self) -> None:
        self.numba = new_tokenizer("numba")
        self.python = new_tokenizer("python")
        self.tiktoken = tiktoken.get_encoding("gpt2")
        with tempfile.TemporaryDirectory() as folder:
            self.python.export(folder, "huggingface")
            file = str(Path(folder) / "tokenizer.json")
            self.huggingface = tokenizers.Tokenizer.from_file(file)
            self.gigatoken = gigatoken.Tokenizer(file)
            self.fastokens = fastokens.Tokenizer.from_file(file)

    def lists(self) -> dict[str, Encode]:
        """Return the baselines' calls that give a list of ids."""
        return {
            "tiktoken": self.tiktoken.encode_ordinary,
            "Hugging Face": lambda text: self.huggingface.encode(text).ids,
            "gigatoken": lambda text: self.gigatoken.encode(text).tolist(),
            "fastokens": lambda text: self.fastokens.encode(text).ids,
        }

    def arrays(self) -> dict[str, Encode]:
        """Return the baselines' calls that give an array of ids; Hugging Face has none."""
        return {
            "tiktoken": lambda text: self.tiktoken.encode_to_numpy(text, disallowed_special=()),
            "gigatoken": self.gigatoken.encode,
            "fastokens": lambda text: np.frombuffer(self.fastokens.encode_batch_flat([text])[0], np.uint32),
        }


def row(case: str, result: Comparison, size: float) -> dict[str, Any]:
    """Return a row of the table: the throughput, and the speedup over each baseline."""
    speedups = {f"× {name}": round(result.speedup(name), 2) for name in result.baselines}
    return {"case": case, "MB/s": round(size / result.seconds() / 1e6, 1), **speedups}


def long_texts(_: Sides, folder: Path) -> list[dict[str, Any]]:
    """Benchmark slices of 4 MB of code, prose and many languages, and documents of 4 kB in one call each."""
    texts = {kind: slices(kind, folder, ROUNDS + 1) for kind in ("code", "prose", "multilingual")}
    sizes = {kind: sum(len(t.encode()) for t in texts[kind]) / len(texts[kind]) for kind in texts}
    rows = []
    sides = Sides()
    for kind in texts:
        ours = partial(sides.numba.encode_to_numpy, disallowed_special=())
        rows.append(row(f"{kind}, to an array", fresh(ours, sides.arrays(), texts[kind]), sizes[kind]))
    sides = Sides()  # with empty caches of pre-tokens
    for kind in texts:
        result = fresh(sides.numba.encode_ordinary, sides.lists(), texts[kind])
        rows.append(row(f"{kind}, to a list", result, sizes[kind]))
    sides = Sides()
    for kind in texts:
        documents = [[t[i : i + 4000] for i in range(0, len(t), 4000)] for t in texts[kind]]
        baselines: Any = {name: many(call) for name, call in sides.lists().items() if name in ("tiktoken", "gigatoken")}
        result = fresh(many(sides.numba.encode_ordinary), baselines, documents)  # type: ignore[arg-type]
        rows.append(row(f"{kind}, 4 kB documents", result, sizes[kind]))
    return rows


def python_engine(sides: Sides, folder: Path) -> list[dict[str, Any]]:
    """Benchmark the python engine on slices of 4 MB."""
    rows = []
    for kind in ("code", "prose", "multilingual"):
        texts = slices(kind, folder, ROUNDS + 1)
        size = sum(len(t.encode()) for t in texts) / len(texts)
        baselines = {k: v for k, v in sides.lists().items() if k in ("tiktoken", "Hugging Face")}
        rows.append(
            row(f"{kind}, python engine, to a list", fresh(sides.python.encode_ordinary, baselines, texts), size)
        )
    return rows


def short_texts(sides: Sides, folder: Path) -> list[dict[str, Any]]:
    """Benchmark 10,000 distinct strings of 44 characters in every round."""
    texts = slices("prose", folder, ROUNDS + 1, 1_000_000)
    lists = [[t[i : i + 44] for i in range(0, 440_000, 44)] for t in texts]
    assert all(len(set(strings)) > 9900 for strings in lists)
    baselines = {name: many(call) for name, call in sides.lists().items()}
    result = fresh(many(sides.numba.encode_ordinary), baselines, lists)  # type: ignore[arg-type]
    return [{**row("short strings", result, 440_000), "microseconds per string": round(result.seconds() * 100, 2)}]


def decoding(sides: Sides, folder: Path) -> list[dict[str, Any]]:
    """Benchmark decoding slices of 4 MB, from a list and from an array of ids."""
    rows = []
    for kind in ("code", "prose", "multilingual"):
        lists = [sides.numba.encode_ordinary(t) for t in slices(kind, folder, ROUNDS + 1)]
        arrays = [np.array(ids, np.uint32) for ids in lists]
        for name, ids in (("a list", lists), ("an array", arrays)):
            ours: Any = each(sides.numba.decode, ids)  # type: ignore[arg-type]
            baselines: Any = {"tiktoken (lists)": each(sides.tiktoken.decode, lists)}  # type: ignore[arg-type]
            rows.append(row(f"decode {kind}, {name}", compare(ours, baselines, ROUNDS), 4e6))
    return rows


def threads(sides: Sides, folder: Path) -> list[dict[str, Any]]:
    """Benchmark two threads against one on batches of 5 MB in documents of 4 kB; wall-clock time."""
    rows = []
    for kind in ("code", "prose"):
        texts = slices(kind, folder, ROUNDS + 1, 5_000_000)
        batches = [[t[i : i + 4000] for i in range(0, len(t), 4000)] for t in texts]
        one, two = new_tokenizer("numba"), new_tokenizer("numba")  # every text is new to both
        how = partial(one.encode_batch_to_numpy, num_threads=1, disallowed_special=())
        ours = partial(two.encode_batch_to_numpy, num_threads=2, disallowed_special=())
        result = fresh(ours, {"one thread": how}, batches)  # type: ignore[arg-type]
        rows.append({"case": f"{kind}, 4 kB documents", "× one thread": round(result.speedup("one thread", "wall"), 2)})
    return rows


def worst(sides: Sides, folder: Path) -> list[dict[str, Any]]:
    """Benchmark one pre-token of a million letters, new ones in each round."""
    rng = random.Random(0)
    texts = ["".join(rng.choices("etaoinshrdlu", k=1_000_000)) for _ in range(ROUNDS + 1)]
    result = fresh(sides.numba.encode_ordinary, {"tiktoken": sides.tiktoken.encode_ordinary}, texts)
    return [{**row("one word of 1,000,000 letters", result, 1e6), "seconds": round(result.seconds(), 3)}]


PARTS = {
    "worst": worst,
    "long": long_texts,
    "python": python_engine,
    "short": short_texts,
    "decode": decoding,
    "threads": threads,
}
TITLES = {
    "worst": "Encoding one pre-token of a megabyte, compiled engine",
    "long": "Encoding, compiled engine",
    "python": "Encoding, python engine",
    "short": "Encoding strings of 44 characters, compiled engine",
    "decode": "Decoding, compiled engine",
    "threads": "Encoding with two threads, compiled engine",
}


def main(arguments: list[str]) -> None:
    """Run the parts and record each."""
    folder, chosen = Path(os.environ.get("DLPAPERS_CORPORA", "corpora")), arguments or list(PARTS)
    sides = Sides()
    for part in chosen:
        rows = PARTS[part](sides, folder)
        write_record(
            HERE.parent / "results" / f"{part}.json",
            title=TITLES[part],
            command=f"python benchmarks/encode.py {part}",
            seed=0,
            rows=rows,
            distributions=DISTRIBUTIONS,
            note=NOTES.get(part, NOTE),
        )
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
