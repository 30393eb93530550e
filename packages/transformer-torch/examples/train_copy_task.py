# ruff: noqa: T201
"""Train a Transformer to copy letters, without the Trainer: the whole loop on one screen.

    python examples/train_copy_task.py          # 600 steps, 20 s on a CPU: 100 % of 200 sequences are copied exactly

The pieces are those of the paper: a causal decoder fed with the target shifted right, label smoothing (section 5.4),
and Adam with warm-up and the learning rate of Eq. (3) (section 5.3).
"""

import random
import sys

import torch
from transformer_torch import LabelSmoothing, NoamSchedule, Transformer, TransformerConfig, greedy_decode

PAD, BOS, EOS, FIRST_LETTER, LETTERS = 0, 1, 2, 4, 26


def sample_batch(rng: random.Random, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return source (batch, 11) and target (batch, 12): 4 to 10 random letters, padded at the end."""
    src = torch.full((size, 11), PAD)
    tgt = torch.full((size, 12), PAD)
    for row in range(size):
        letters = [FIRST_LETTER + rng.randrange(LETTERS) for _ in range(rng.randint(4, 10))]
        src[row, : len(letters) + 1] = torch.tensor([*letters, EOS])
        tgt[row, : len(letters) + 2] = torch.tensor([BOS, *letters, EOS])
    return src, tgt


def main(steps: int = 600) -> float:
    """Train and test; return the fraction of test sequences that are copied exactly."""
    torch.manual_seed(0)
    rng = random.Random(0)
    config = TransformerConfig(
        FIRST_LETTER + LETTERS, d_model=64, n_heads=4, n_layers=1, d_ff=128, dropout=0.0, norm="pre"
    )
    model = Transformer(config)
    criterion = LabelSmoothing(0.1, pad_id=PAD)
    schedule = NoamSchedule(config.d_model, warmup_steps=200, steps=steps, decay_steps=steps // 2)
    adam = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98), eps=1e-9)

    model.train()
    for step in range(1, steps + 1):
        src, tgt = sample_batch(rng, 64)
        logits = model(src, tgt[:, :-1])  # the decoder reads the target shifted right ...
        loss = criterion(logits, tgt[:, 1:])  # ... and predicts its next token
        loss.backward()
        adam.param_groups[0]["lr"] = schedule(step)
        adam.step()
        adam.zero_grad()
        if step % 100 == 0:
            print(f"step {step:4}  smoothed loss {loss.item():.3f}")

    model.eval()
    src, tgt = sample_batch(rng, 200)
    outputs = greedy_decode(model, src, BOS, EOS)
    references = [[t for t in row if t not in (PAD, BOS, EOS)] for row in tgt.tolist()]
    exact = sum(output == reference for output, reference in zip(outputs, references, strict=True)) / len(outputs)
    print(f"{exact:.1%} of {len(outputs)} sequences are copied exactly")
    return exact


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
