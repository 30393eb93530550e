"""Train the model `pretrained:shakespeare`, and write it with its model card into the package.

The recipe and the seed are fixed, so the result is the same on every machine that rounds alike.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lets_build_gpt._common.tensors import read_tensors, write_tensors
from lets_build_gpt.checkpoint import STATE_KEY, load_run
from lets_build_gpt.evaluate import score_run

NAME = "shakespeare"
RECIPE = "cpu-15min"
OUT = Path(__file__).parent.parent / "src" / "lets_build_gpt" / "pretrained" / NAME

CARD = """# shakespeare

Continues a text in the manner of Shakespeare's plays, character by character.

| | |
|---|---|
| model | GPT: {parameters:,} parameters, context of {context_length} characters, stored in float16 |
| command | `{command}` (seed {seed}, {steps:,} steps) |
| validation loss | {val_loss:.4f} nats per character, over the last 10 % of the text |
| data | tiny shakespeare: 1.1 million characters of Shakespeare's plays, in the public domain |
| license | MIT, as the package |

**Use**: to see at once what a small GPT writes, in examples, figures and tests. It knows the 65 characters of its text
and nothing but these plays; its words are often no words.

Try it: `lets-build-gpt generate pretrained:shakespeare --prompt "ROMEO:"`
"""


def main() -> None:
    """Train, store the weights in float16, evaluate what is stored."""
    command = ["train", RECIPE, "--text", NAME, "--dtype", "float32", "--device", "cpu", "--num-threads", "1"]
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary) / "run"
        subprocess.run([sys.executable, "-m", "lets_build_gpt", *command, "--out", str(run)], check=True)
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        for name in ("config.json", "tokenizer.json"):
            shutil.copyfile(run / name, OUT / name)
        weights, about = read_tensors(run / "model.safetensors")
        halves = {name: tensor.half() for name, tensor in weights.items()}
        write_tensors(OUT / "model.safetensors", halves, {STATE_KEY: about[STATE_KEY]})
    model, _ = load_run(OUT)
    settings = json.loads((OUT / "config.json").read_text(encoding="utf-8"))
    facts = {
        "command": " ".join(["lets-build-gpt", *command]),
        "seed": settings["train"]["seed"],
        "steps": settings["train"]["steps"],
        "parameters": model.num_parameters(),
        "context_length": model.config.context_length,
        "val_loss": score_run(OUT).loss,
    }
    (OUT / "results.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (OUT / "README.md").write_text(CARD.format(**facts), encoding="utf-8")
    sys.stdout.write((OUT / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
