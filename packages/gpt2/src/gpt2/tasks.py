"""Tasks without training, sections 3.1 to 3.3 of the paper and after it: WikiText-2, LAMBADA, HellaSwag.

- wikitext2: perplexity of the raw text (gpt2.evaluate). A word is what stands between white space, and the end of each
  line is one more, which are the 217,646 words of the published validation part (the paper undoes some of the
  corpus's tokenization first, which makes its numbers better; here the text is as it is).
- lambada: is the last word of a passage, all its tokens, the likeliest continuation? The passage begins a document.
- hellaswag: which of four endings has the highest log-probability, and which the highest per token and per byte?

A passage that does not fit the context loses its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt2.evaluate import evaluate_text
from gpt2.model import GPT2
from gpt2.settings import Task
from gpt2.siblings import sibling
from gpt2.tokenizers import Tokenizer

FILES = {  # in the registry of dlpapers_shared.data
    "wikitext2": "lm-eval/wiki.test.raw",
    "lambada": "lm-eval/lambada_test.jsonl",
    "hellaswag": "lm-eval/hellaswag_val.jsonl",
}


@dataclass(frozen=True)
class Score:
    """A completion under the model: the log-probability of each of its tokens, and whether each was the likeliest."""

    logprobs: Tensor
    greedy: bool

    @property
    def total(self) -> float:
        """log p(completion | prompt)."""
        return float(self.logprobs.sum())

    @property
    def mean(self) -> float:
        """The same per token."""
        return float(self.logprobs.mean())


@torch.no_grad()
def score(model: GPT2, pairs: Sequence[tuple[list[int], list[int]]]) -> list[Score]:
    """Of each (prompt, completion) the score of the completion, all in one batch, padded at the end."""
    length, device = model.config.context_length, model.wte.weight.device
    rows = []
    for prompt, completion in pairs:
        if not prompt or not completion or len(completion) > length:
            raise ValueError(
                f"completion: {len(completion)} tokens after {len(prompt)}; 1 to {length} after at least one"
            )
        rows.append((prompt + completion)[-(length + 1) :])
    ids = torch.zeros(len(rows), max(map(len, rows)) - 1, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row) - 1] = torch.tensor(row[:-1])
    was_training = model.training
    hidden = model.eval().hidden(ids.to(device))
    model.train(was_training)
    scores = []
    for state, row, (_, completion) in zip(hidden, rows, pairs, strict=True):
        logits = model.lm_head(state[len(row) - 1 - len(completion) : len(row) - 1]).float()
        targets = torch.tensor(completion, device=device)
        logprobs = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
        scores.append(Score(logprobs.cpu(), bool((logits.argmax(-1) == targets).all())))
    return scores


def lambada(model: GPT2, tokenizer: Tokenizer, passages: Sequence[dict[str, Any]]) -> Iterator[dict[str, float]]:
    """Of each passage ("text"): whether its last word was guessed, and the word's log-probability."""
    for passage in passages:
        beginning, _, word = passage["text"].rstrip().rpartition(" ")
        (found,) = score(model, [(_document(tokenizer, beginning), tokenizer.encode(" " + word))])
        yield {"accuracy": float(found.greedy), "logprob": found.total}


def hellaswag(model: GPT2, tokenizer: Tokenizer, records: Sequence[dict[str, Any]]) -> Iterator[dict[str, float]]:
    """Of each record ("ctx", "endings", "label"): whether the right ending won, by three measures."""
    for record in records:
        endings = [" " + ending for ending in record["endings"]]
        prompt = _document(tokenizer, record["ctx"])
        scores = score(model, [(prompt, tokenizer.encode(ending)) for ending in endings])
        sizes = [len(ending.encode()) for ending in endings]
        measures = {
            "accuracy": [s.total for s in scores],
            "accuracy_per_token": [s.mean for s in scores],
            "accuracy_per_byte": [s.total / size for s, size in zip(scores, sizes, strict=True)],
        }
        yield {name: float(max(range(len(m)), key=m.__getitem__) == record["label"]) for name, m in measures.items()}


def _document(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text that begins a document."""
    return ([] if tokenizer.eos_id is None else [tokenizer.eos_id]) + tokenizer.encode(text)


def evaluate_task(
    model: GPT2,
    tokenizer: Tokenizer,
    task: Task,
    file: Path | None = None,
    *,
    stride: int | None = None,
    limit: int | None = None,
    progress: Callable[[Iterator[dict[str, float]], int], Iterable[dict[str, float]]] | None = None,
) -> dict[str, float]:
    """The means of a task over a file (without one: the published file, through dlpapers_shared)."""
    file = published(task) if file is None else file
    if task == "wikitext2":
        text = file.read_text(encoding="utf-8")
        return evaluate_text(model, tokenizer, text, stride, words=len(text.split()) + text.count("\n"))
    examples = read_lines(file, ("text",) if task == "lambada" else ("ctx", "endings", "label"))[:limit]
    found = (lambada if task == "lambada" else hellaswag)(model, tokenizer, examples)
    results = list(found if progress is None else progress(found, len(examples)))
    return {"examples": float(len(results))} | {
        name: sum(result[name] for result in results) / len(results) for name in results[0]
    }


def read_lines(file: Path, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a JSONL file; ValueError for a line without one of the fields, or for no line."""
    examples = []
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                examples.append(json.loads(line))
                if missing := [f for f in fields if f not in examples[-1]]:
                    raise KeyError(missing[0])
            except (json.JSONDecodeError, KeyError, TypeError):
                raise ValueError(f"{file}: line {number} is no JSON object with {', '.join(fields)}") from None
    if not examples:
        raise ValueError(f"{file}: no examples")
    return examples


def published(task: Task) -> Path:
    """The published file of a task, fetched by the package dlpapers_shared of this collection."""
    otherwise = f"task: give the file of {task} with --text, or install what fetches it"
    path: Path = sibling("dlpapers_shared.data", "dlpapers-shared", "./shared", otherwise).fetch(FILES[task])
    return path
