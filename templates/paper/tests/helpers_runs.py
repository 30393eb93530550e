"""The training commands for test_runs.py."""
# Replace: the options that keep a run of your model within seconds, and the settings that shape it.

RUNS = {"train": ["train", "demo", "--steps", "12", "--eval-every", "4", "--dropout", "0.1", "--dtype", "float32"]}
MORE_STEPS = {"train": ["--steps", "1000000", "--eval-every", "20"]}
DIVERGE = {"train": ["--lr", "1e30"]}
CHANGES = {
    "train": [
        (["--seed", "5"], "seed"),
        (["--dropout", "0.2"], "dropout"),
        (["--steps", "13"], "steps"),
        (["--held-out", "0.5"], "held_out"),
        (["--text", "other.txt"], "fingerprint"),
    ]
}


def prepare(folder):
    (folder / "other.txt").write_text("another text\nof two lines\n", encoding="utf-8")
