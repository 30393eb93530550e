"""`gpt2 demo`: train a small GPT-2 on the interpreter's own documentation, look at it, export it, use the export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt2.data import TokenFiles, Windows
from gpt2.model import GPT2, GPT2Config
from gpt2.prepare import prepare
from gpt2.pretrained import write_atomically
from gpt2.settings import OptimConfig, Sampling, TrainConfig
from gpt2.text import generate_text
from gpt2.tokenizers import ByteTokenizer, save
from gpt2.train import Trainer

SHADES = " .:-=+*#%@"
PROMPT = "The class "


def corpus() -> str:
    """The language reference and library topics that every Python brings along: about 700 kB of English."""
    from pydoc_data.topics import topics

    return "\n\n".join(text for _, text in sorted(topics.items()))


def attention_picture(weights: Tensor, text: str) -> str:
    """One head's weights (queries, keys) in characters: a row per letter, the darker the more it attends.

    >>> print(attention_picture(torch.tensor([[1.0, 0.0], [0.25, 0.75]]), "ab"))
      a b
    a @
    b : #
    """
    letters = [c if c.isprintable() else "?" for c in text]
    rows = ["  " + " ".join(letters)]
    for query, (letter, row) in enumerate(zip(letters, weights.tolist(), strict=True)):
        marks = [SHADES[min(len(SHADES) - 1, int(w * len(SHADES)))] if k <= query else "" for k, w in enumerate(row)]
        rows.append(f"{letter} " + " ".join(m if m != " " else "." for m in marks).rstrip())
    return "\n".join(rows)


def previous_token_head(attn: Tensor) -> tuple[int, int, float]:
    """The layer and head that look most at the token just before, and how much. attn: (layers, heads, q, k)."""
    share = attn.diagonal(offset=-1, dim1=2, dim2=3).mean(-1)
    layer, head = divmod(int(share.argmax()), share.shape[1])
    return layer, head, float(share[layer, head])


def demo(
    out: Path, say: Callable[[str], None], on_log: Callable[[dict[str, Any]], None], steps: int = 300, seed: int = 0
) -> dict[str, float]:
    """The whole of it; `say` gets what there is to read. Returns the losses."""
    out.mkdir(parents=True, exist_ok=True)
    source = out / "topics.txt"
    text = corpus()
    write_atomically(source, lambda path: path.write_text(text, encoding="utf-8"))
    index = prepare([source], out / "data", "bytes")
    torch.manual_seed(seed)
    tokenizer = ByteTokenizer()
    model = GPT2(
        GPT2Config(
            vocab_size=tokenizer.n_vocab,
            context_length=128,
            d_model=128,
            n_heads=4,
            n_layers=4,
            dropout=0.0,
            eos_id=tokenizer.eos_id,
        )
    )
    say(f"{index['tokens']:,} bytes of documentation; a GPT-2 of {model.parameter_count():,} parameters.\n")
    sampling = Sampling(temperature=0.8, top_p=0.95)
    before = generate_text(model, tokenizer, [PROMPT], 60, sampling, seed=seed)[0]
    config = TrainConfig(
        steps=steps,
        batch_size=16,
        optim=OptimConfig(optimizer="muon", lr=4e-3, warmup=20, schedule="linear", final_lr=0.0),
        eval_every=max(1, steps // 4),
        dtype="float32",
        seed=seed,
    )
    data = Windows(TokenFiles(out / "data"), model.config.context_length, seed=seed, validation_windows=128)
    run = out / "run"
    last = Trainer(model, data, config, run, on_log=on_log).run()
    save(tokenizer, run)
    say(f"\nHeld-out loss {last['val_loss']:.3f} nats per byte. Before training the model wrote:\n\n{PROMPT}{before}\n")

    sentence = "the value of the value"
    with torch.no_grad():
        attn = model(torch.tensor([tokenizer.encode(sentence)]), return_intermediates=True)[1]["attn"][:, 0]
    layer, head, share = previous_token_head(attn)
    picture = attention_picture(attn[layer, head], sentence)
    say(f"Layer {layer}, head {head} looks at the byte before ({share:.0%} of its attention). Row: who looks.\n")
    say(picture + "\n")

    exported = GPT2.from_pretrained(run)
    after = generate_text(exported, tokenizer, [PROMPT], 300, sampling, seed=seed)[0]
    say(f"Its Hugging Face folder, {run}, read back, writes:\n\n{PROMPT}{after}\n")
    return {"val_loss": float(last["val_loss"]), "previous_token_share": share}
