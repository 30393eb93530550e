"""Check a BPE encoder: ids against a reference, and the first piece that differs."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from dlpapers_shared.check import engine
from dlpapers_shared.check.engine import Case
from dlpapers_shared.check.reference.bpe import ENCODER_MISTAKES, Merges, encode, train, vocabulary
from dlpapers_shared.check.report import Report
from dlpapers_shared.check.signature import bind, name_of

CORPUS = (
    "low lower lowest new newer newest wide wider widest slow slower slowest banana bananas cabbage café cafés "
    "aaaa aaa abab ababab über übel naïve the then there these other another mother 日本語 日本 🙂🙂 🙂"
)
WORDS = (
    *("low", "lowest", "slowest", "newer", "bananas", "aaaa", "aaaaa", "ababab", "abababa", "cafés", "übel", "another"),
    *("mothers", "日本語", "🙂🙂🙂", "qx", "x", "antithesis", "wider", ""),
)
TEXTS = (
    *(
        "Hello world!",
        "  two  spaces",
        "it's 1234567 and 3.14",
        "naïve café – 日本語 🙂",
        "def f(x):\n    return x\n\n",
        "",
    ),
    *("the the the", "\t\ttabs\r\n", "don't you'll WE'RE", "a" * 40, "end "),
)
TEXT_NAMES = ("text", "string", "s", "line")
BYTES_NAMES = ("data", "word", "pretoken", "piece", "chunk", "token", "raw")


def bpe_encoder(
    implementation: Any, *, reference: Any = None, merges: Merges | None = None, texts: Iterable[str] | None = None
) -> Report:
    """Compare the ids of a BPE encoder with those of a reference.

    Args:
        implementation: f(word, merges) for one pre-token: word is str if the parameter is called text or annotated as
            str, else bytes; merges is a list of pairs of ids, where bytes are 0 to 255 and merge k creates id 256 + k.
            Or f(word, ranks) with ranks from bytes to ids. Or, with `reference`, a whole encoder f(text), or an object
            with a method encode.
        reference: a function or an object with a method encode that returns the correct ids; "tiktoken:gpt2" and the
            like for an encoding of tiktoken, if it is installed and its file is on this machine.
        merges: merges for f(word, merges). Default: 60 merges of a short text.
        texts: what is encoded. Default: short words, or short texts with spaces, digits and other scripts.
    Raises: ValueError if the signature is not clear.

    >>> def mine(word: bytes, merges):
    ...     ids = list(word)
    ...     for k, pair in enumerate(merges):
    ...         if pair in list(zip(ids, ids[1:])):
    ...             i = list(zip(ids, ids[1:])).index(pair)
    ...             ids[i : i + 2] = [256 + k]
    ...     return ids
    >>> print(*bpe_encoder(mine).diagnosis)
    This matches a common mistake: each merge is applied to its first occurrence only, in one pass.
    """
    name = name_of(implementation)
    if reference is not None:
        return _against(implementation, _encoder(reference, "reference"), list(TEXTS if texts is None else texts), name)
    if merges is None:
        merges = train({word.encode(): 1 for word in CORPUS.split()}, 60, ties="ids")
    run, form = _word_encoder(implementation, merges)
    report = Report("BPE encoder", name, form)
    tokens = vocabulary(merges)
    results: list[tuple[Case, Any]] = []
    for text in WORDS if texts is None else texts:
        right = encode(text, merges)
        got, problem = engine.attempt(lambda text=text: _ids(run(text), tokens))  # type: ignore[misc]
        case = Case(repr(text), {"text": text})
        results.append((case, None if problem else np.array(got, int)))
        if problem or got != right:
            report.add(repr(text), "FAIL", problem or _difference(got, right, lambda i: _shown(tokens, i)))
        else:
            report.add(repr(text), "ok", f"{len(right)} ids")
    if report.failures:
        truth = lambda text, **switches: np.array(encode(text, merges, **switches), int)  # noqa: E731
        report.explain(*engine.fingerprint(results, truth, ENCODER_MISTAKES, (0, 0), {}))
    return report


def _word_encoder(function: Any, merges: Merges) -> tuple[Callable[[str], Any], str]:
    """How to call f(word, merges) or f(word, ranks)."""
    function = function.encode if not inspect.isroutine(function) and hasattr(function, "encode") else function
    name = name_of(function)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    tables = {"merges": list(merges), "ranks": {token: i for i, token in enumerate(vocabulary(merges))}}
    aliases = {"merges": "merges", "pairs": "merges", "ranks": "ranks", "mergeable_ranks": "ranks", "vocab": "ranks"}
    got = f"{name}({', '.join(p.name for p in parameters)})"
    if len(parameters) != 2 or parameters[0].name not in TEXT_NAMES + BYTES_NAMES or parameters[1].name not in aliases:
        raise ValueError(
            f"`{name}` must have the signature {name}(word, merges) or {name}(word, ranks), got {got}. "
            f"Pass `reference` to check a whole encoder f(text)"
        )
    annotation = str(parameters[0].annotation)
    wants_text = (
        "str" in annotation if "str" in annotation or "bytes" in annotation else parameters[0].name in TEXT_NAMES
    )
    table = tables[aliases[parameters[1].name]]

    def run(text: str) -> Any:
        return function(text if wants_text else text.encode(), copy.copy(table))

    return run, f"f({'text' if wants_text else 'bytes'}, {aliases[parameters[1].name]})"


def _ids(result: Any, tokens: Sequence[bytes] = ()) -> list[int]:
    """A result as a list of ids; tokens as bytes are looked up. Raises TypeError for anything else."""
    if hasattr(result, "ids"):  # an Encoding of Hugging Face tokenizers
        result = result.ids
    if hasattr(result, "tolist"):
        result = result.tolist()
    if not isinstance(result, list | tuple):
        raise TypeError(f"the encoder must return a list of ids, got {type(result).__name__}")
    if tokens and any(isinstance(item, bytes) for item in result):
        return [tokens.index(item) if item in tokens else -1 for item in result]
    if not all(isinstance(item, int | np.integer) and not isinstance(item, bool) for item in result):
        raise TypeError("the encoder must return a list of ids, got other elements")
    return [int(item) for item in result]


def _shown(tokens: Sequence[bytes], ids: Sequence[int]) -> str:
    parts = [tokens[i] if 0 <= i < len(tokens) else b"?" for i in ids]
    return "|".join(part.decode("utf-8", "backslashreplace") for part in parts)


def _difference(got: list[int], right: list[int], shown: Callable[[Sequence[int]], str] | None) -> str:
    """The first id that differs, and both splits."""
    i = next((i for i, (a, b) in enumerate(zip(got, right, strict=False)) if a != b), min(len(got), len(right)))
    text = f"ids differ from [{i}] on: {got[i : i + 4]} instead of {right[i : i + 4]}"
    return f"{text} ({shown(got)} instead of {shown(right)})" if shown else text


def _encoder(target: Any, what: str) -> Callable[[str], Any]:
    if isinstance(target, str):
        library, _, encoding = target.partition(":")
        if library != "tiktoken" or not encoding:
            raise ValueError(f"`{what}` must be a function, an object with encode, or 'tiktoken:NAME', got {target!r}")
        from dlpapers_shared._common.optional import require

        return require("tiktoken", f"the reference {target}").get_encoding(encoding).encode_ordinary
    if not inspect.isroutine(target) and hasattr(target, "encode"):
        target = getattr(target, "encode_ordinary", target.encode)
    if not callable(target):
        raise ValueError(f"`{what}` must be a function of a text or an object with encode, got {type(target).__name__}")
    found: Callable[[str], Any] = target
    return found


def _against(implementation: Any, right: Callable[[str], Any], texts: Sequence[str], name: str) -> Report:
    """Compare f(text) with another encoder, and shrink the first text that differs to its shortest differing piece."""
    encoder = _encoder(implementation, "implementation")
    call = bind(_as_text(encoder), ("text",), (), name)
    report = Report("BPE encoder", name, "f(text)")

    def both(text: str) -> tuple[list[int] | None, list[int], str]:
        got, problem = engine.attempt(lambda: _ids(call(text=text)))
        return got, _ids(right(text)), problem

    smallest: str | None = None
    for text in texts:
        got, expected, problem = both(text)
        if problem or got is None:
            report.add(repr(text)[:40], "FAIL", problem)
        elif got == expected:
            report.add(repr(text)[:40], "ok", f"{len(expected)} ids")
        else:
            report.add(repr(text)[:40], "FAIL", _difference(got, expected, None))
            piece = shrink(text, lambda part: both(part)[0] != both(part)[1])
            smallest = piece if smallest is None or len(piece) < len(smallest) else smallest
    if smallest is not None:
        got, expected, _ = both(smallest)
        report.explain(f"The shortest piece that differs is {smallest!r}: {got} instead of {expected}.")
    return report


def _as_text(function: Callable[[str], Any]) -> Callable[..., Any]:
    """The encoder with its first parameter called text, if all others have defaults."""
    try:
        first, *others = inspect.signature(function).parameters.values()
        fits = first.kind is not first.VAR_POSITIONAL and all(
            p.default is not p.empty or p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in others
        )
    except (TypeError, ValueError):
        fits = False
    if not fits:
        return function

    def encoder(text: str) -> Any:
        return function(text)

    return encoder


def shrink(text: str, differs: Callable[[str], bool]) -> str:
    """Return a shortest part of a text that still differs: characters are removed from both ends while it does.

    >>> shrink("one two three", lambda part: "tw" in part)
    'tw'
    """
    for step in (32, 8, 2, 1):
        while len(text) > step and differs(text[step:]):
            text = text[step:]
        while len(text) > step and differs(text[:-step]):
            text = text[:-step]
    return text
