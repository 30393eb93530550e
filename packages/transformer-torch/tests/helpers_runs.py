"""The training command that tools/run_checks.py runs. One is enough: each process takes seconds to import PyTorch."""

RUNS = {
    "train": [
        *("train", "--src", "a.txt", "--tgt", "b.txt", "--vocab", "words", "--dtype", "float32"),
        *("--d-model", "16", "--d-ff", "16", "--n-heads", "2", "--n-layers", "1", "--dropout", "0.2"),
        *("--optimizer", "muon", "--warmup-steps", "5", "--batch-tokens", "60", "--steps", "12", "--eval-every", "4"),
    ],
}
MORE_STEPS = {"train": ["--steps", "1000000"]}
DIVERGE = {"train": ["--lr-scale", "1e30"]}
CHANGES = {
    "train": [
        (["--seed", "5"], "seed"),
        (["--dropout", "0.3"], "dropout"),
        (["--dtype", "float16"], "dtype"),
        (["--src", "b.txt", "--tgt", "a.txt"], "fingerprint"),
        (["--vocab-size", "9"], "vocab_size"),
        (["--eval-every", "6"], "eval_every"),
    ],
}
EXTRA_METRICS = {"smoothed_loss"}


def prepare(folder):
    (folder / "a.txt").write_text("ein Hund läuft\nzwei Hunde\n\nein Kind spielt\n" * 10, encoding="utf-8")
    (folder / "b.txt").write_text("a dog runs\ntwo dogs\nnothing\na child plays\n" * 10, encoding="utf-8")
