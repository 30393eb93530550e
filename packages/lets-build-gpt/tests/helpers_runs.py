"""The training commands of this package, for tools/run_checks.py."""

TEXT = "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer\n" * 60

RUNS = {
    "train": [
        "train", "nanogpt-cpu", "--text", "text.txt", "--context-length", "16", "--d-model", "32", "--n-heads", "2",
        "--n-layers", "2", "--dropout", "0.1", "--batch-size", "4", "--steps", "40", "--eval-every", "20",
        "--dtype", "float32", "--device", "cpu", "--sample-tokens", "20",
    ],
}  # fmt: skip
MORE_STEPS = {
    "train": ["--steps", "1000000", "--eval-every", "1000000", "--checkpoint-every", "1000000", "--d-model", "64"]
}
DIVERGE = {"train": ["--lr", "1e30", "--optimizer", "adamw", "--grad-clip", "0", "--warmup-steps", "0"]}
CHANGES = {
    "train": [
        (["--seed", "5"], "seed"),
        (["--dropout", "0.2"], "dropout"),
        (["--batch-size", "8"], "batch_size"),
        (["--lr", "0.001"], "lr"),
        (["--steps", "50"], "steps"),
        (["--optimizer", "adamw"], "optimizer"),
        (["--text", "other.txt"], "text_sha256"),
        (["--dtype", "float16"], "dtype"),
    ]
}


def prepare(folder):
    """Write the texts that the commands read."""
    (folder / "text.txt").write_text(TEXT, encoding="utf-8", newline="\n")
    (folder / "other.txt").write_text(TEXT.replace("mind", "dinm"), encoding="utf-8", newline="\n")
