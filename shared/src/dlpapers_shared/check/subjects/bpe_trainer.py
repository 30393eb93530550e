"""Check a BPE trainer: 1508.07909, algorithm 1, under each tie-breaking rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from dlpapers_shared._common.errors import check_choice
from dlpapers_shared.check import engine
from dlpapers_shared.check.engine import Case
from dlpapers_shared.check.reference.bpe import TIES, TRAINER_MISTAKES, train
from dlpapers_shared.check.report import Report
from dlpapers_shared.check.signature import name_of

Tokens = tuple[tuple[bytes, bytes], ...]
CORPORA: dict[str, dict[bytes, int]] = {
    "the words of the paper": {b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3},
    "words with many ties": {
        b"zebra": 2,
        b"cabab": 2,
        b"bazaar": 2,
        b"barb": 2,
        b"ab": 1,
        b"abz": 1,
        b"za": 1,
        b"c": 9,
    },
    "runs of equal bytes": {b"aaaa": 3, b"baaab": 2, b"aab": 4, b"bbbb": 1, b"ba": 5, b"abba": 2, b"aaaaaaa": 1},
    "merges until no pair is left": {b"ab": 1, b"abc": 1},
}
TEXTS = {"one text": "aaabdaaabac the cat in the hat", "a text with many ties": "zyx zyx abc abc cab bca xzy yxz"}


def bpe_trainer(implementation: Any, *, ties: str | None = None) -> Report:
    """Compare the merges of a BPE trainer with algorithm 1 of the paper, and name its tie-breaking rule.

    Args:
        implementation: f(words, num_merges), words from bytes to counts in the order of first occurrence; or
            f(text, num_merges) for one str that is not split into words. vocab_size = 256 + num_merges is accepted in
            place of num_merges. It returns the merges as pairs of ids, of bytes or of str, or a dictionary from pair to
            id, in the order of training.
        ties: which of several most frequent pairs must be merged: the one that occurs "first" in the corpus, the one
            with the smallest "ids", or the one with the greatest "bytes". By default each rule is accepted and named.
    Raises: ValueError if the signature is not clear.

    >>> def mine(words, num_merges):
    ...     return train(words, num_merges, ties="last")
    >>> print(*bpe_trainer(mine).diagnosis)
    This matches a common mistake: of equally frequent pairs, the one that occurs last in the corpus.
    """
    if ties is not None:
        check_choice("ties", ties, tuple(TIES))
    name = name_of(implementation)
    run, takes = _caller(implementation, name)
    report = Report("BPE trainer", name, f"f({takes}, …)")
    corpora = CORPORA if takes == "words" else {key: {text.encode(): 1} for key, text in TEXTS.items()}
    results: list[tuple[Case, Any]] = []
    for key, words in corpora.items():
        got, problem = engine.attempt(lambda words=words: as_tokens(run(words, 12)))  # type: ignore[misc]
        results.append((Case(key, {"words": words}), None if problem else got))
        if problem:
            report.add(key, "FAIL", problem)
    rules = [ties] if ties else list(TIES)
    good = [rule for rule in rules if all(g == _truth(c.inputs["words"], rule) for c, g in results)]
    rule = good[0] if good else _nearest(results, rules)
    for case, got in results:
        if got is not None:
            problem = _difference(got, case.inputs["words"], rule)
            report.add(case.name, "FAIL" if problem else "ok", problem or f"{len(got)} merges")
    if good:
        report.add("ties", "note", "; or ".join(f"{TIES[r]} (ties={r!r})" for r in good))
    else:
        report.explain(*_diagnose(results, rules))
    return report


def _truth(words: Mapping[bytes, int], ties: str, **switches: str) -> Tokens:
    return as_tokens(train(words, 12, **{"ties": ties, **switches}))


def _nearest(results: Sequence[tuple[Case, Any]], rules: Sequence[str]) -> str:
    """The rule with the most correct corpora: messages then name the earliest difference that counts."""
    return max(rules, key=lambda r: sum(g == _truth(c.inputs["words"], r) for c, g in results))


def _diagnose(results: Sequence[tuple[Case, Any]], rules: Sequence[str]) -> list[str]:
    seen = [(case, got) for case, got in results if got is not None]
    if not seen:
        return []

    def explains(**switches: str) -> bool:
        return all(got == _truth(case.inputs["words"], **{"ties": "first", **switches}) for case, got in seen)

    for other, text in TIES.items():
        if other not in rules and explains(ties=other):
            return [f"This is another tie-breaking rule: {text} (ties={other!r}) instead of {TIES[rules[0]]}."]
    found = []
    for mistake in TRAINER_MISTAKES:
        for rule in rules if "ties" not in mistake.switches else ("",):
            if explains(**({"ties": rule} if rule else {}), **mistake.switches):
                found.append(mistake.sentence)
                break
    return [f"This matches a common mistake: {' or, equivalently on these inputs, '.join(found)}."] if found else []


def _difference(got: Tokens, words: Mapping[bytes, int], rule: str) -> str:
    """A sentence about the first merge that differs, with the counts of both pairs; empty if none does."""
    right = _truth(words, rule)
    for i, (mine, theirs) in enumerate(zip(got, right, strict=False)):
        if mine != theirs:
            counts = _counts_before(words, right[:i])
            n, m = counts.get(mine, 0), counts.get(theirs, 0)
            tie = f"both occur {n} times: the tie goes to {TIES[rule]}" if n == m else f"they occur {n} and {m} times"
            return f"merge {i} is {_shown(mine)} instead of {_shown(theirs)}; {tie}"
    if len(got) != len(right):
        return f"{len(got)} merges instead of {len(right)}"
    return ""


def _shown(pair: tuple[bytes, bytes]) -> str:
    return " + ".join(part.decode("utf-8", "backslashreplace") for part in pair)


def _counts_before(words: Mapping[bytes, int], merges: Tokens) -> dict[tuple[bytes, bytes], int]:
    """How often each pair occurs after some merges."""
    counts: dict[tuple[bytes, bytes], int] = {}
    for word, n in words.items():
        row = [bytes([b]) for b in word]
        for pair in merges:
            i = 0
            while i < len(row) - 1:
                if (row[i], row[i + 1]) == pair:
                    row[i : i + 2] = [row[i] + row[i + 1]]
                i += 1
        for pair in pairwise(row):
            counts[pair] = counts.get(pair, 0) + n
    return counts


def _caller(function: Any, name: str) -> tuple[Callable[[Mapping[bytes, int], int], Any], str]:
    expected = f"{name}(words, num_merges) or {name}(text, num_merges)"
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must have the signature {expected}, got a callable without one") from None
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    names = [p.name for p in parameters[:2]]
    corpus = {"words": "words", "counts": "words", "word_counts": "words", "vocab": "words", "text": "text"}
    amounts = {"num_merges": 0, "n_merges": 0, "merges": 0, "steps": 0, "vocab_size": 256}
    if len(names) < 2 or len(needed) > 2 or names[0] not in corpus or names[1] not in amounts:
        got = f"{name}({', '.join(p.name for p in parameters)})"
        raise ValueError(f"`{name}` must have the signature {expected}, got {got}")
    takes, extra = corpus[names[0]], amounts[names[1]]

    def run(words: Mapping[bytes, int], num_merges: int) -> Any:
        data: Any = dict(words) if takes == "words" else next(iter(words)).decode()
        return function(**{names[0]: data, names[1]: num_merges + extra})

    return run, takes


def as_tokens(result: Any) -> Tokens:
    """Return merges as pairs of bytes. Raises TypeError if they are neither pairs of ids, of bytes, nor of str.

    >>> as_tokens({(97, 97): 256, (256, 98): 257})
    ((b'a', b'a'), (b'aa', b'b'))
    """
    if isinstance(result, tuple) and result and isinstance(result[0], dict | list):
        result = result[0]  # merges and a vocabulary
    if isinstance(result, Mapping):
        result = sorted(result, key=result.__getitem__)
    if not isinstance(result, Iterable) or isinstance(result, str | bytes):
        raise TypeError(f"the trainer must return a list of merges, got {type(result).__name__}")
    tokens = [bytes([i]) for i in range(256)]
    merges: list[tuple[bytes, bytes]] = []
    for pair in result:
        pair = tuple(pair.split(" ")) if isinstance(pair, str) else pair
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"each merge must be a pair, got {pair!r}")
        try:
            left, right = (_token(part, tokens) for part in pair)
        except IndexError:
            raise TypeError(f"merge {len(merges)} uses an id that does not exist yet: {tuple(pair)}") from None
        merges.append((left, right))
        tokens.append(left + right)
    return tuple(merges)


def _token(part: Any, tokens: Sequence[bytes]) -> bytes:
    if isinstance(part, bytes):
        return part
    return part.encode() if isinstance(part, str) else tokens[part]
