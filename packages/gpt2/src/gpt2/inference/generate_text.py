"""Generate text from text: stream what is certain, and end at stop strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from gpt2._common.errors import invalid
from gpt2.config import Overflow, SamplingConfig
from gpt2.data.tokenizers import Tokenizer, check_fits
from gpt2.inference.generate import LanguageModel, stream


class TextStream:
    """Turns tokens into text as they arrive, and holds back what the next token may still change.

    Held back are the bytes of an incomplete character, and text that may be the start of a stop string. A stop string
    itself is not part of the text.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        if any(not s for s in stop):
            raise invalid("stop", "be texts of at least one character", "")
        self.tokenizer, self.stop = tokenizer, list(stop)
        self.text = ""  # all text released so far
        self.stopped = False
        self._pending: list[int] = []  # tokens since the last complete character
        self._taken = 0  # characters of them that are already in _held or released
        self._held = ""

    def push(self, token: int) -> str:
        """Add a token; return the text that is now certain."""
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
        """Return the text that was held back, because no token follows."""
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
            keep = 0 if final else self._possible_start()
            cut = len(self._held) - keep
            out, self._held = self._held[:cut], self._held[cut:]
        self.text += out
        return out

    def _possible_start(self) -> int:
        """Return the length of the longest end of the held text that is the start of a stop string."""
        longest = max((len(s) - 1 for s in self.stop), default=0)
        for n in range(min(longest, len(self._held)), 0, -1):
            if any(s.startswith(self._held[-n:]) for s in self.stop):
                return n
        return 0


def generate_text(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    sampling: SamplingConfig | None = None,
    *,
    stop: Sequence[str] = (),
    seed: int | None = None,
    overflow: Overflow = "context_shift",
    write: Callable[[int, str], None] | None = None,
    on_logprob: Callable[[int, int, float], None] | None = None,
) -> list[str]:
    """Continue texts; return the continuations.

    `write(row, text)` is called as text becomes certain, `on_logprob(row, token, log-probability)` for each token.
    An empty prompt starts a document. Row i is sampled with seed + i, so its text does not depend on the other rows.
    Ids that the tokenizer does not have are never sampled.
    Raises: ValueError if the tokenizer has more tokens than the model, or the prompt cannot be encoded.
    """
    check_fits(tokenizer, model.config.vocab_size)
    device = model.device
    ids = [tokenizer.encode(p) or [start_token(tokenizer)] for p in prompts]
    streams = [TextStream(tokenizer, stop) for _ in prompts]

    def on_token(row: int, token: int) -> bool:
        new = streams[row].push(token)
        if new and write is not None:
            write(row, new)
        return streams[row].stopped

    generators = None
    if seed is not None:
        generators = [torch.Generator(device).manual_seed(seed + row) for row in range(len(ids))]
    steps = stream(
        model,
        ids,
        max_new_tokens,
        sampling,
        stop_tokens=[] if tokenizer.eos_id is None else [tokenizer.eos_id],
        on_token=on_token,
        generator=generators,
        overflow=overflow,
        vocab_size=tokenizer.vocab_size,
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


def start_token(tokenizer: Tokenizer) -> int:
    """Return the token that starts an empty document: end-of-text, or else a line end, or else the first token."""
    if tokenizer.eos_id is not None:
        return tokenizer.eos_id
    try:
        return tokenizer.encode("\n")[0]
    except ValueError:  # characters without a line end
        return 0
