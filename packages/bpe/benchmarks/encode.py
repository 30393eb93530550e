"""Encoding and decoding beside tiktoken, Hugging Face, gigatoken and fastokens, with GPT-2's vocabulary.

    DLPAPERS_CORPORA=folder python benchmarks/encode.py [PART ...]

PART is one of worst, long, python, short, decode, threads; by default all. The folder is the one that corpora.py
describes. One thread, CPU time; in each round the text is new to all sides. A ratio is the peer's time over ours:
above 1, this package is faster.
"""

from __future__ import annotations

import os

os.environ |= {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}  # before the libraries read them

import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

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
Encode = Callable[[str], object]


def each(encode: Encode, texts: list[str]) -> Callable[[], object]:
    """A call that encodes the next text each time."""
    coming: Iterator[str] = iter(texts)
    return lambda: encode(next(coming))


def fresh(ours: Encode, peers: dict[str, Encode], texts: list[str]) -> Comparison:
    """Ours and the peers, in turn, a text that is new to all in every round (the first warms up)."""
    return compare(each(ours, texts), {name: each(call, texts) for name, call in peers.items()}, len(texts) - 1)


def many(encode: Encode) -> Callable[[list[str]], None]:
    """One call for each of many texts."""

    def run(texts: list[str]) -> None:
        for text in texts:
            encode(text)

    return run


class Sides:
    """The five tokenizers, all with GPT-2's vocabulary."""

    def __init__(self) -> None:
        self.numba = bpe.get_encoding("gpt2", engine="numba")
        self.python = bpe.get_encoding("gpt2", engine="python")
        self.tiktoken = tiktoken.get_encoding("gpt2")
        with tempfile.TemporaryDirectory() as folder:
            self.python.export(folder, "huggingface")
            file = str(Path(folder) / "tokenizer.json")
            self.huggingface = tokenizers.Tokenizer.from_file(file)
            self.gigatoken = gigatoken.Tokenizer(file)
            self.fastokens = fastokens.Tokenizer.from_file(file)

    def lists(self) -> dict[str, Encode]:
        """The peers' calls that give a list of ids."""
        return {
            "tiktoken": self.tiktoken.encode_ordinary,
            "Hugging Face": lambda text: self.huggingface.encode(text).ids,
            "gigatoken": lambda text: self.gigatoken.encode(text).tolist(),
            "fastokens": lambda text: self.fastokens.encode(text).ids,
        }

    def arrays(self) -> dict[str, Encode]:
        """The peers' calls that give an array of ids (Hugging Face has none)."""
        return {
            "tiktoken": lambda text: self.tiktoken.encode_to_numpy(text, disallowed_special=()),
            "gigatoken": self.gigatoken.encode,
            "fastokens": lambda text: np.frombuffer(self.fastokens.encode_batch_flat([text])[0], np.uint32),
        }


def row(case: str, result: Comparison, size: float) -> dict[str, Any]:
    """A line of the table: our speed, and each peer's time over ours."""
    ratios = {f"{name} / ours": round(result.ratio(name), 2) for name in result.peers}
    return {"case": case, "ours, MB/s": round(size / result.seconds() / 1e6, 1), **ratios}


def long_texts(_: Sides, folder: Path) -> list[dict[str, Any]]:
    """Slices of 4 MB of code, prose and many languages; and documents of 4 kB, one call each."""
    texts = {kind: slices(kind, folder, ROUNDS + 1) for kind in ("code", "prose", "multilingual")}
    sizes = {kind: sum(len(t.encode()) for t in texts[kind]) / len(texts[kind]) for kind in texts}
    rows = []
    sides = Sides()
    for kind in texts:
        ours = partial(sides.numba.encode_to_numpy, disallowed_special=())
        rows.append(row(f"{kind}, to an array", fresh(ours, sides.arrays(), texts[kind]), sizes[kind]))
    sides = Sides()  # those that remember words have not seen these texts
    for kind in texts:
        result = fresh(sides.numba.encode_ordinary, sides.lists(), texts[kind])
        rows.append(row(f"{kind}, to a list", result, sizes[kind]))
    sides = Sides()
    for kind in texts:
        documents = [[t[i : i + 4000] for i in range(0, len(t), 4000)] for t in texts[kind]]
        peers: Any = {name: many(call) for name, call in sides.lists().items() if name in ("tiktoken", "gigatoken")}
        result = fresh(many(sides.numba.encode_ordinary), peers, documents)  # type: ignore[arg-type]
        rows.append(row(f"{kind}, 4 kB documents", result, sizes[kind]))
    return rows


def python_engine(sides: Sides, folder: Path) -> list[dict[str, Any]]:
    """The textbook engine on slices of 4 MB."""
    rows = []
    for kind in ("code", "prose", "multilingual"):
        texts = slices(kind, folder, ROUNDS + 1)
        size = sum(len(t.encode()) for t in texts) / len(texts)
        peers = {k: v for k, v in sides.lists().items() if k in ("tiktoken", "Hugging Face")}
        rows.append(row(f"{kind}, python engine, to a list", fresh(sides.python.encode_ordinary, peers, texts), size))
    return rows


def short_texts(sides: Sides, folder: Path) -> list[dict[str, Any]]:
    """10,000 distinct strings of 44 characters in every round."""
    texts = slices("prose", folder, ROUNDS + 1, 1_000_000)
    lists = [[t[i : i + 44] for i in range(0, 440_000, 44)] for t in texts]
    assert all(len(set(strings)) > 9900 for strings in lists)
    peers = {name: many(call) for name, call in sides.lists().items()}
    result = fresh(many(sides.numba.encode_ordinary), peers, lists)  # type: ignore[arg-type]
    return [{"microseconds": round(result.seconds() * 100, 2), **row("short strings", result, 440_000)}]


def decoding(sides: Sides, folder: Path) -> list[dict[str, Any]]:
    """The ids of slices of 4 MB, as a list and as an array."""
    rows = []
    for kind in ("code", "prose", "multilingual"):
        lists = [sides.numba.encode_ordinary(t) for t in slices(kind, folder, ROUNDS + 1)]
        arrays = [np.array(ids, np.uint32) for ids in lists]
        for name, ids in (("a list", lists), ("an array", arrays)):
            ours: Any = each(sides.numba.decode, ids)  # type: ignore[arg-type]
            peers: Any = {"tiktoken, a list": each(sides.tiktoken.decode, lists)}  # type: ignore[arg-type]
            rows.append(row(f"decode {kind}, {name}", compare(ours, peers, ROUNDS), 4e6))
    return rows


def threads(sides: Sides, folder: Path) -> list[dict[str, Any]]:
    """One thread beside two on batches of 5 MB in documents of 4 kB; wall-clock time."""
    rows = []
    for kind in ("code", "prose"):
        texts = slices(kind, folder, ROUNDS + 1, 5_000_000)
        batches = [[t[i : i + 4000] for i in range(0, len(t), 4000)] for t in texts]
        # both sides see every text as new: each has a tokenizer of its own
        one, two = (bpe.get_encoding("gpt2", engine="numba") for _ in range(2))
        how = partial(one.encode_batch_to_numpy, num_threads=1, disallowed_special=())
        ours = partial(two.encode_batch_to_numpy, num_threads=2, disallowed_special=())
        result = fresh(ours, {"one thread": how}, batches)  # type: ignore[arg-type]
        rows.append(
            {"case": f"{kind}, 4 kB documents", "2 threads over 1": round(result.ratio("one thread", "wall"), 2)}
        )
    return rows


def worst(sides: Sides, folder: Path) -> list[dict[str, Any]]:
    """One pre-token of a million letters, other ones in each round."""
    rng = random.Random(0)
    texts = ["".join(rng.choices("etaoinshrdlu", k=1_000_000)) for _ in range(ROUNDS + 1)]
    result = fresh(sides.numba.encode_ordinary, {"tiktoken": sides.tiktoken.encode_ordinary}, texts)
    return [{"seconds": round(result.seconds(), 3), **row("one word of 1,000,000 letters", result, 1e6)}]


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
            note="GPT-2's vocabulary, CPU time, median of 6 rounds in turn; a ratio is the peer's time over ours.",
        )
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
