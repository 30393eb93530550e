"""Benchmark training against Hugging Face, gigatoken and the loop of minbpe.

    DLPAPERS_CORPORA=folder python benchmarks/train.py [PART ...]     # PART: large, memory, textbook

large: 32,768 ids on 20 MB of prose. memory: its peak memory, each library in a separate process. textbook: the python
engine on tiny shakespeare against the loop of minbpe, per merge.
"""

from __future__ import annotations

import os

os.environ |= {
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}  # the libraries read them when they are imported

import json
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import bpe
from bpe.pretokenize import Splitter
from corpora import slices
from dlpapers_shared.timing import compare, write_record

HERE = Path(__file__).parent
VOCAB = 32768
NOTE = (
    "One thread, CPU time, median of 5 interleaved rounds. × is the speedup over that baseline: > 1 means that this "
    "package is faster."
)
NOTES = {
    "memory": "One thread. The peak of each process, and how much training added to it; memory over ours > 1: this "
    "package needs less."
}
DISTRIBUTIONS = ["dlpapers-bpe", "numba", "numpy", "regex", "tokenizers", "gigatoken"]


def ours(path: str) -> object:
    """Train with this package on a file, with the tie-breaking rule of Hugging Face."""
    return bpe.train([path], vocab_size=VOCAB, ties="ids", engine="numba")


def huggingface(path: str) -> object:
    """Train with `tokenizers` on the same file."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train([path], trainers.BpeTrainer(vocab_size=VOCAB, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def giga(path: str) -> object:
    """Train with `gigatoken` on the same file."""
    import gigatoken

    return gigatoken.train_bpe(Path(path).read_bytes(), VOCAB, [])


SIDES = {"bpe": ours, "Hugging Face": huggingface, "gigatoken": giga}


def corpus(folder: Path) -> str:
    """Write 20 MB of prose into a file and return its path."""
    path = Path(tempfile.gettempdir()) / "prose-20-mb.txt"
    path.write_text("".join(slices("prose", folder, 5)), encoding="utf-8")
    return str(path)


def large(folder: Path) -> list[dict[str, Any]]:
    """Measure the CPU seconds of complete training runs, interleaved."""
    path = corpus(folder)
    result = compare(lambda: ours(path), {"Hugging Face": lambda: huggingface(path), "gigatoken": lambda: giga(path)})
    return [
        {
            "case": "32,768 ids, 20 MB of prose, compiled engine",
            "CPU seconds": round(result.seconds(), 3),
            **{f"× {name}": round(result.speedup(name), 2) for name in result.baselines},
        }
    ]


PEAK = """
import sys
sys.path.insert(0, {here!r})
import train

def peak():  # of this process; getrusage includes the parent's from before the exec
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

train.SIDES[{side!r}]({warm!r})
before = peak()
train.SIDES[{side!r}]({path!r})
print(before, peak())
"""


def memory(folder: Path) -> list[dict[str, Any]]:
    """Measure the peak of the process, and how much of it training added after a warm-up on one sentence."""
    path = corpus(folder)
    warm = Path(tempfile.gettempdir()) / "sentence.txt"
    warm.write_text("a sentence\n")
    rows = []
    for side in SIDES:
        code = PEAK.format(here=str(HERE), side=side, path=path, warm=str(warm))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        before, peak = map(int, done.stdout.split()[-2:])
        rows.append(
            {"case": side, "peak, MB": round(peak / 1024), "added by training, MB": round((peak - before) / 1024)}
        )
    first = {row["case"]: row["added by training, MB"] for row in rows}
    return [{**row, "memory over ours (×)": round(row["added by training, MB"] / first["bpe"], 2)} for row in rows]


def minbpe_loop(text: str, merges: int) -> list[tuple[int, int]]:
    """Train as minbpe's RegexTokenizer.train: recount all pairs and rebuild all pre-tokens for each merge."""
    pretokens = [list(pretoken.encode()) for pretoken in Splitter("gpt2")(text)]
    made = []
    for new in range(256, 256 + merges):
        stats: dict[tuple[int, int], int] = {}
        for ids in pretokens:
            for pair in pairwise(ids):
                stats[pair] = stats.get(pair, 0) + 1
        best = max(stats, key=stats.get)  # type: ignore[arg-type]
        joined = []
        for ids in pretokens:
            out, i = [], 0
            while i < len(ids):
                if i < len(ids) - 1 and ids[i] == best[0] and ids[i + 1] == best[1]:
                    out.append(new)
                    i += 2
                else:
                    out.append(ids[i])
                    i += 1
            joined.append(out)
        pretokens = joined
        made.append(best)
    return made


def textbook(folder: Path) -> list[dict[str, Any]]:
    """Train 1,024 ids on tiny shakespeare. The loop of minbpe runs only 8 merges, so both are timed per merge."""
    text = (Path(os.environ["DLPAPERS_DATA_DIR"]) / "text" / "tinyshakespeare.txt").read_text(encoding="utf-8")
    few, all_merges = 8, 768
    trained = bpe.train_from_iterator([text], vocab_size=1024, engine="python")
    assert trained.merges[:few] == minbpe_loop(text, few)
    result = compare(
        lambda: bpe.train_from_iterator([text], vocab_size=1024, engine="python"),
        {"the loop of minbpe": lambda: minbpe_loop(text, few)},
    )
    speedup = result.speedup("the loop of minbpe") * all_merges / few
    return [
        {
            "case": "1,024 ids, tiny shakespeare, python engine",
            "CPU ms per merge": round(1000 * result.seconds() / all_merges, 3),
            "× the loop of minbpe": round(speedup, 1),
        }
    ]


PARTS = {"large": large, "memory": memory, "textbook": textbook}
TITLES = {
    "large": "Training, compiled engine",
    "memory": "Peak memory of training 32,768 ids on 20 MB of prose",
    "textbook": "Training, python engine",
}


def main(arguments: list[str]) -> None:
    """Run the parts and record each."""
    folder, chosen = Path(os.environ.get("DLPAPERS_CORPORA", "corpora")), arguments or list(PARTS)
    for part in chosen:
        rows = PARTS[part](folder)
        write_record(
            HERE.parent / "results" / f"train-{part}.json",
            title=TITLES[part],
            command=f"python benchmarks/train.py {part}",
            seed=0,
            rows=rows,
            distributions=DISTRIBUTIONS,
            note=NOTES.get(part, NOTE),
        )
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
