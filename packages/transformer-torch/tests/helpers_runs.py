"""The training commands, as tools/run_checks.py runs them: seconds each."""

TINY = ["--d-model", "16", "--d-ff", "16", "--n-heads", "2", "--n-layers", "1", "--dtype", "float32"]
SHORT = ["--steps", "12", "--decay-steps", "0", "--eval-every", "4"]

RUNS = {
    "dates": ["train", "dates", *TINY, "--batch-tokens", "400", "--dropout", "0.1", *SHORT],
    "small": [
        *("train", "--src", "a.txt", "--tgt", "b.txt", "--vocab", "words", "--warmup-steps", "5"),
        *("--optimizer", "muon", *TINY, "--batch-tokens", "60", *SHORT),
    ],
}
MORE_STEPS = {name: ["--steps", "1000000"] for name in RUNS}
DIVERGE = {name: ["--lr-scale", "1e30", "--grad-clip", "0"] for name in RUNS}
CHANGES = {
    "dates": [
        (["--seed", "5"], "seed"),
        (["--steps", "13"], "steps"),
        (["--dropout", "0.2"], "dropout"),
        (["--dtype", "float16"], "dtype"),
        (["--d-ff", "24"], "d_ff"),
        (["--warmup-steps", "7"], "warmup_steps"),
        (["--batch-tokens", "500"], "batch_tokens"),
        (["--vocab-size", "9"], "vocab_size"),
    ],
    "small": [
        (["--optimizer", "adam"], "optimizer"),
        (["--src", "b.txt", "--tgt", "a.txt"], "fingerprint"),
        (["--average", "2", "--patience", "0"], "patience"),
        (["--label-smoothing", "0"], "label_smoothing"),
        (["--eval-every", "6"], "eval_every"),
    ],
}
EXTRA_METRICS = {"smoothed_loss"}


def prepare(folder):
    (folder / "a.txt").write_text("ein Hund läuft\nzwei Hunde\n\nein Kind spielt\n" * 10, encoding="utf-8")
    (folder / "b.txt").write_text("a dog runs\ntwo dogs\nnothing\na child plays\n" * 10, encoding="utf-8")
