"""Zero-shot benchmarks of the paper (sections 3.1 to 3.3) and after it: WikiText-2, LAMBADA, HellaSwag.

- wikitext2: perplexity of the raw text (gpt2.evaluation.perplexity). Words are separated by white space, and each line
  end counts as one more, which gives the published 217,646 words of the validation part. The paper first undoes some of
  the corpus's tokenization, which improves its numbers; here the text is used as it is.
- lambada: is the last word of a passage, with all its tokens, the most probable continuation? The passage starts a
  document.
- hellaswag: which of four endings has the highest log-probability, in total, per token, and per byte?

A passage longer than the context loses its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from gpt2._common.atomic import read_text
from gpt2._common.errors import check_choice, check_integer, invalid, is_integer
from gpt2._common.optional import require
from gpt2.config import Task
from gpt2.data.tokenizers import Tokenizer, check_fits
from gpt2.evaluation.perplexity import evaluate_text
from gpt2.inference.generate import LanguageModel

FILES = {  # in the registry of dlpapers_shared.data
    "wikitext2": "lm-eval/wiki.test.raw",
    "lambada": "lm-eval/lambada_test.jsonl",
    "hellaswag": "lm-eval/hellaswag_val.jsonl",
}
Results = Iterator[dict[str, float]]


@dataclass(frozen=True)
class Score:
    """A completion under the model: log-probability of each token, and whether each was the most probable one."""

    logprobs: Tensor
    greedy: bool

    @property
    def total(self) -> float:
        """Return log p(completion | prompt)."""
        return float(self.logprobs.sum())

    @property
    def mean(self) -> float:
        """Return the log-probability per token."""
        return float(self.logprobs.mean())


@torch.no_grad()
def score(model: LanguageModel, pairs: Sequence[tuple[list[int], list[int]]]) -> list[Score]:
    """Score the completion of each (prompt, completion) pair in one batch, padded at the end.

    Raises: ValueError for an empty prompt or completion, for a completion longer than the context, and if a
    log-probability is NaN.
    """
    length, device = model.config.context_length, model.device
    rows = []
    for prompt, completion in pairs:
        if not prompt:
            raise invalid("prompt", "have at least 1 token", 0)
        check_integer("completion", len(completion), 1, length)
        rows.append((prompt + completion)[-(length + 1) :])
    ids = torch.zeros(len(rows), max(map(len, rows)) - 1, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row) - 1] = torch.tensor(row[:-1])
    was_training = model.training
    model.train(False)
    hidden = model.hidden(ids.to(device))
    model.train(was_training)
    scores = []
    for state, row, (_, completion) in zip(hidden, rows, pairs, strict=True):
        logits = model.lm_head(state[len(row) - 1 - len(completion) : len(row) - 1]).float()
        targets = torch.tensor(completion, device=device)
        logprobs = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
        if bool(logprobs.isnan().any()):
            raise ValueError(
                "the model's log-probabilities are NaN: its weights are damaged, or the dtype is too small"
            )
        scores.append(Score(logprobs.cpu(), bool((logits.argmax(-1) == targets).all())))
    return scores


def lambada(model: LanguageModel, tokenizer: Tokenizer, passages: Sequence[dict[str, Any]]) -> Results:
    """Yield for each passage ("text") whether its last word was predicted, and the log-probability of the word."""
    for passage in passages:
        beginning, _, word = passage["text"].rstrip().rpartition(" ")
        (result,) = score(model, [(_document(tokenizer, beginning), tokenizer.encode(" " + word))])
        yield {"accuracy": float(result.greedy), "logprob": result.total}


def hellaswag(model: LanguageModel, tokenizer: Tokenizer, records: Sequence[dict[str, Any]]) -> Results:
    """Yield for each record ("ctx", "endings", "label") whether the right ending had the best score, in three ways."""
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
        label = int(record["label"])
        yield {name: float(max(range(len(m)), key=m.__getitem__) == label) for name, m in measures.items()}


def _document(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the tokens of a text that starts a document."""
    return ([] if tokenizer.eos_id is None else [tokenizer.eos_id]) + tokenizer.encode(text)


def evaluate_task(
    model: LanguageModel,
    tokenizer: Tokenizer,
    task: Task,
    file: Path | None = None,
    *,
    stride: int | None = None,
    limit: int | None = None,
    progress: Callable[[Results, int], Iterable[dict[str, float]]] | None = None,
) -> dict[str, float]:
    """Return the mean results of a task over a file; without one over the published file (through dlpapers_shared).

    stride: for wikitext2. limit: use the first examples only. progress: wraps the results, given their number.
    Raises: ValueError that names file and line of an example that does not have the right form.
    """
    check_choice("task", task, get_args(Task))
    check_fits(tokenizer, model.config.vocab_size)
    if limit is not None:
        check_integer("limit", limit, 1)
    unused, value = ("limit", limit) if task == "wikitext2" else ("stride", stride)
    if value is not None:
        raise invalid(unused, f"be omitted for {task}, which does not use it", value)
    file = published(task) if file is None else file
    if task == "wikitext2":
        text = read_text(file)
        return evaluate_text(model, tokenizer, text, stride, words=len(text.split()) + text.count("\n"))
    examples = read_examples(file, task)[:limit]
    found = (lambada if task == "lambada" else hellaswag)(model, tokenizer, examples)
    results = list(found if progress is None else progress(found, len(examples)))
    return {"examples": float(len(results))} | {
        name: sum(result[name] for result in results) / len(results) for name in results[0]
    }


def read_examples(file: Path, task: Task) -> list[dict[str, Any]]:
    """Return the examples of a JSONL file. Raises: ValueError that names the line of one without the right form."""
    check = _check_lambada if task == "lambada" else _check_hellaswag
    examples = []
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if line.strip():
            try:
                example = json.loads(line)
                if not isinstance(example, dict):
                    raise ValueError("not a JSON object")
                check(example)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{file}:{number}: {error}") from None
            examples.append(example)
    if not examples:
        raise ValueError(f"{file}: has no examples")
    return examples


def _check_lambada(example: dict[str, Any]) -> None:
    text = example.get("text")
    if not isinstance(text, str) or " " not in text.strip():
        raise invalid("text", "be a text of at least 2 words", text)


def _check_hellaswag(example: dict[str, Any]) -> None:
    context, endings, label = (example.get(name) for name in ("ctx", "endings", "label"))
    if not isinstance(context, str):
        raise invalid("ctx", "be a text", context)
    if not isinstance(endings, list) or not endings or not all(isinstance(e, str) and e for e in endings):
        raise invalid("endings", "be a list of texts", endings)
    number: Any = int(label) if isinstance(label, str) and label.isdecimal() else label  # the hub has them as text
    if not is_integer(number) or not 0 <= number < len(endings):
        raise invalid("label", f"be a number from 0 to {len(endings) - 1}", label)


def published(task: Task) -> Path:
    """Return the published file of a task, which dlpapers_shared downloads."""
    path: Path = require("dlpapers_shared.data", f"{task} without --text").fetch(FILES[task])
    return path
