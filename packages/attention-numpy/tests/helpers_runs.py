"""The training commands that `run_checks` tests."""

from pathlib import Path

SMALL = ["--steps", "12", "--batch-size", "8", "--d-model", "16", "--d-ff", "16", "--n-layers", "1"]
SMALL += ["--dropout", "0.1", "--eval-every", "5", "--eval-count", "20", "--warmup-steps", "4"]
TEXT = "the quick brown fox jumps over the lazy dog. "

RUNS = {
    "task": ["train", "reverse", *SMALL],
    "text": ["train", "text", "--text", "a.txt", "--context-length", "16", *SMALL],
}
MORE_STEPS = {name: ["--steps", "1000000"] for name in RUNS}
DIVERGE = {name: ["--lr", "1e30"] for name in RUNS}
CHANGES = {
    "task": [
        (["--seed", "5"], "seed"),
        (["--lr", "0.1"], "lr"),
        (["--dropout", "0.2"], "dropout"),
        (["--batch-size", "9"], "batch_size"),
        (["--n-heads", "2"], "n_heads"),
        (["--steps", "13"], "steps"),
        (["--schedule", "cosine"], "schedule"),
        (["--grad-clip", "0"], "grad_clip"),
        (["--label-smoothing", "0.1"], "label_smoothing"),
    ],
    "text": [(["--context-length", "17"], "context_length"), (["--text", "b.txt"], "fingerprint")],
}
EXTRA_METRICS = {"exact_match"}


def prepare(folder: Path) -> None:
    """Write two texts of the same characters."""
    (folder / "a.txt").write_text(TEXT * 60, encoding="utf-8")
    (folder / "b.txt").write_text(TEXT * 61, encoding="utf-8")
