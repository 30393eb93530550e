"""Evaluation on held-out data: loss, and for tasks the exact match."""

from __future__ import annotations

from typing import Any

from attention_numpy.data.source import TaskSource, TextSource
from attention_numpy.data.tasks import BOS_ID, EOS_ID, PAD_ID
from attention_numpy.loss import cross_entropy

TASK_BATCH, TEXT_BATCH = 250, 64
EXTRA_TOKENS = 3  # how much longer than the longest target of its batch an output may become


def evaluate(model: Any, source: TaskSource | TextSource) -> dict[str, float]:
    """Return `val_loss`, in nats per token, and for a task `exact_match`, on the source's held-out data.

    The model is evaluated without dropout; its mode is left as it was.
    """
    was_training = model.training
    model.eval()
    try:
        return _evaluate_task(model, source) if isinstance(source, TaskSource) else _evaluate_text(model, source)
    finally:
        model.train(was_training)


def _evaluate_task(model: Any, source: TaskSource) -> dict[str, float]:
    """Exact match: the fraction of greedily decoded outputs whose every symbol is correct."""
    correct, losses, symbols = 0, 0.0, 0
    for start in range(0, len(source.held_out), TASK_BATCH):
        src, tgt = source.tokenizer.arrays(source.held_out[start : start + TASK_BATCH])
        loss, _ = cross_entropy(model(src, tgt[:, :-1]), tgt[:, 1:], ignore_index=PAD_ID)
        real = int((tgt[:, 1:] != PAD_ID).sum())
        losses, symbols = losses + loss * real, symbols + real
        outputs = model.generate(src, bos_id=BOS_ID, eos_id=EOS_ID, max_new_tokens=tgt.shape[1] + EXTRA_TOKENS)
        expected = [[i for i in row[1:] if i not in (PAD_ID, EOS_ID)] for row in tgt.tolist()]
        correct += sum(output == want for output, want in zip(outputs, expected, strict=True))
    return {"val_loss": losses / symbols, "exact_match": correct / len(source.held_out)}


def _evaluate_text(model: Any, source: TextSource) -> dict[str, float]:
    total = 0.0
    for start in range(0, len(source.held_out), TEXT_BATCH):
        part = source.held_out[start : start + TEXT_BATCH]
        total += cross_entropy(model(part[:, :-1]), part[:, 1:])[0] * len(part)
    return {"val_loss": total / len(source.held_out)}
