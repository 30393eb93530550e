"""The training commands, for test_runs.py."""

import json
from pathlib import Path

CONFIG = "train_config.json"
EXTRA_METRICS = {"tflops", "mfu"}
TINY = ["--batch-size", "4", "--dtype", "float32", "--device", "cpu", "--eval-every", "6", "--log-every", "1"]
SHAPE = ["--d-model", "16", "--n-heads", "2", "--n-layers", "1", "--context-length", "16", "--dropout", "0.1"]

RUNS = {
    "train": ["train", "data", "--steps", "18", *TINY, *SHAPE],
    "finetune": [
        "finetune",
        "model",
        "--text",
        "pairs.jsonl",
        "--lora",
        "2",
        "--steps",
        "18",
        "--patience",
        "0",
        *TINY,
    ],
}
MORE_STEPS = {name: ["--steps", "1000000"] for name in RUNS}
DIVERGE = {name: ["--lr", "1e30"] for name in RUNS}
CHANGES = {
    "train": [
        (["--seed", "5"], "seed"),
        (["--dropout", "0"], "dropout"),
        (["--order", "epochs"], "order"),
        (["--d-model", "32"], "d_model"),
        (["--lr", "0.1"], "lr"),
        (["--steps", "20"], "steps"),
        (["--batch-size", "5"], "batch_size"),
    ],
    "finetune": [
        (["--seed", "5"], "seed"),
        (["--held-out", "0.3"], "fingerprint"),
        (["--lora", "0"], "lora"),
        (["--lora", "3"], "lora"),
    ],
}


def prepare(folder):
    import torch
    from gpt2 import GPT2, GPT2Config
    from gpt2.data import tokenizers
    from gpt2.data.prepare import prepare as write_token_files

    folder = Path(folder)
    (folder / "a.txt").write_text("the cat sat on the mat. " * 100)
    write_token_files([folder / "a.txt"], folder / "data")
    pairs = [json.dumps({"prompt": f"{i} + 1 = ", "completion": str(i + 1)}) for i in range(40)]
    (folder / "pairs.jsonl").write_text("\n".join(pairs))
    torch.manual_seed(0)
    shape = {"context_length": 24, "d_model": 16, "n_heads": 2, "n_layers": 1, "dropout": 0.1}
    GPT2(GPT2Config(vocab_size=257, eos_id=256, **shape)).save_pretrained(folder / "model")
    tokenizers.save(tokenizers.ByteTokenizer(), folder / "model")
