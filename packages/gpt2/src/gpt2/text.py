"""Text in, text out: streaming what is certain, and ending at stop strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from gpt2.generation import stream
from gpt2.model import GPT2
from gpt2.settings import Overflow, Sampling
from gpt2.tokenizers import Tokenizer


class TextStream:
    """Turns tokens into text as they come, holding back what the next token may still change.

    Held back are the bytes of a character that is not complete, and text that may be the beginning of a stop
    string. A stop string itself is not part of the text.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        if any(not s for s in stop):
            raise ValueError("stop: an empty string")
        self.tokenizer, self.stop = tokenizer, list(stop)
        self.text = ""  # all that has been given out
        self.stopped = False
        self._pending: list[int] = []  # tokens since the last complete character
        self._taken = 0  # characters of them that are already in _held or given out
        self._held = ""

    def push(self, token: int) -> str:
        """Take a token; return the text that is certain now."""
        self._pending.append(token)
        text = self.tokenizer.decode(self._pending)
        incomplete = text.endswith("\ufffd")  # only the last character can still change
        new = text[self._taken : len(text) - 1 if incomplete else None]
        if incomplete:
            self._taken = max(self._taken, len(text) - 1)
        else:
            self._pending, self._taken = [], 0
        return self._release(new, final=False)

    def finish(self) -> str:
        """No more tokens will come: return what was held back."""
        text = self.tokenizer.decode(self._pending)[self._taken :]
        self._pending, self._taken = [], 0
        return self._release(text, final=True)

    def _release(self, new: str, final: bool) -> str:
        if self.stopped:
            return ""
        self._held += new
        found = [i for s in self.stop if (i := self._held.find(s)) >= 0]
        if found:
            self.stopped, out, self._held = True, self._held[: min(found)], ""
        else:
            keep = 0 if final else self._possible_beginning()
            cut = len(self._held) - keep
            out, self._held = self._held[:cut], self._held[cut:]
        self.text += out
        return out

    def _possible_beginning(self) -> int:
        """Length of the longest end of the held text that is a beginning of a stop string."""
        longest = max((len(s) - 1 for s in self.stop), default=0)
        for n in range(min(longest, len(self._held)), 0, -1):
            if any(s.startswith(self._held[-n:]) for s in self.stop):
                return n
        return 0


def generate_text(
    model: GPT2,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    sampling: Sampling | None = None,
    *,
    stop: Sequence[str] = (),
    seed: int | None = None,
    overflow: Overflow = "rebase",
    write: Callable[[int, str], None] | None = None,
    on_logprob: Callable[[int, int, float], None] | None = None,
) -> list[str]:
    """Continue texts; returns the continuations. `write(row, text)` is called as text becomes certain,
    `on_logprob(row, token, log-probability)` for each token.

    An empty prompt begins a document. Row i draws with seed + i, whatever stands beside it.
    """
    device = model.wte.weight.device
    ids = [tokenizer.encode(p) for p in prompts]
    if not all(ids):
        begin = tokenizer.encode("\n")[:1] if tokenizer.eos_id is None else [tokenizer.eos_id]
        ids = [row or begin for row in ids]
    streams = [TextStream(tokenizer, stop) for _ in prompts]

    def on_token(row: int, token: int) -> bool:
        new = streams[row].push(token)
        if new and write is not None:
            write(row, new)
        return streams[row].stopped

    generators = None
    if seed is not None:
        generators = [torch.Generator(device).manual_seed(seed + row) for row in range(len(ids))]
    stop_tokens = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    steps = stream(
        model,
        ids,
        max_new_tokens,
        sampling,
        stop_tokens=stop_tokens,
        on_token=on_token,
        generator=generators,
        overflow=overflow,
    )
    for step in steps:
        if on_logprob is not None:
            for row in (~step.done).nonzero()[:, 0].tolist():
                on_logprob(row, int(step.tokens[row]), float(step.logprobs[row]))
    for row, text in enumerate(streams):
        rest = text.finish()
        if rest and write is not None:
            write(row, rest)
    return [text.text for text in streams]
