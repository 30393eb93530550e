"""Hugging Face's `tokenizer.json`, as `tokenizers.Tokenizer.from_file` and `transformers` read it.

The format describes many kinds of tokenizers. This module reads byte-level BPE without a normalizer: GPT-2's kind, and
those with a pattern of their own (`Split`) before `ByteLevel`, such as Llama 3's and gpt-oss's. Files converted from
`.tiktoken` list several merges per token; they are read, too. Anything else is refused by name, and so is an unknown
key, because ignoring it could change ids.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpe._common.atomic import write_json
from bpe.byte_unicode import from_printable, to_printable
from bpe.errors import FormatError
from bpe.formats import openai
from bpe.formats.base import Vocabulary
from bpe.merge import byte_pair_merge
from bpe.pretokenize import PATTERNS
from bpe.vocabulary import check_ranks

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

NAME = "tokenizer.json"
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
_ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
_KEYS = {
    "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder",
    "model",
}  # fmt: skip
_MODEL_KEYS = {
    "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
    "ignore_merges", "vocab", "merges",
}  # fmt: skip


def export(tokenizer: Tokenizer, folder: Path) -> list[Path]:
    """Write tokenizer.json and tokenizer_config.json; with GPT-2's pattern also vocab.json and merges.txt.

    A vocabulary with tokens that no merge forms is written with `ignore_merges`, and only as tokenizer.json.
    """
    try:
        merges, ignore_merges = openai.merge_lines(tokenizer), False
    except FormatError:
        merges, ignore_merges = _all_merges(tokenizer), True
    special = sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": name, **_ADDED} for name, i in special],
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(tokenizer.pattern),
        "post_processor": _BYTE_LEVEL,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": ignore_merges,
            "vocab": openai.printable_vocabulary(tokenizer),
            "merges": merges,
        },
    }
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if "<|endoftext|>" in tokenizer.special_tokens:
        config |= {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    files = [folder / NAME, folder / "tokenizer_config.json"]
    write_json(files[0], content)
    write_json(files[1], config)
    if tokenizer.pattern == "gpt2" and not ignore_merges:
        files += openai.export(tokenizer, folder, openai.HUGGINGFACE)
    return files


def _all_merges(tokenizer: Tokenizer) -> list[str]:
    """Return all pairs of tokens that form a token, in the order of its rank."""
    ranks = tokenizer.ranks
    rows = [
        (rank, ranks[token[:i]], ranks[token[i:]])
        for token, rank in ranks.items()
        for i in range(1, len(token))
        if token[:i] in ranks and token[i:] in ranks
    ]
    printable = {i: to_printable(token) for token, i in ranks.items()}
    return [f"{printable[a]} {printable[b]}" for _, a, b in sorted(rows)]


def _pre_tokenizer(pattern: str | None) -> dict[str, Any]:
    if pattern == "gpt2":
        return {**_BYTE_LEVEL, "use_regex": True}
    if pattern is None:
        return _BYTE_LEVEL
    split = {
        "type": "Split",
        "pattern": {"Regex": PATTERNS.get(pattern, pattern)},
        "behavior": "Isolated",
        "invert": False,
    }
    return {"type": "Sequence", "pretokenizers": [split, _BYTE_LEVEL]}


def parse(content: dict[str, Any], path: Path) -> Vocabulary:
    """Return the vocabulary of a file's content. path: named in errors.

    Its ids are those of `tokenizers` with `add_special_tokens=False`.
    """
    model = content["model"]
    try:
        _check_supported(content, model)
        pattern = _pattern(content.get("pre_tokenizer"))
        special = _added_tokens(content.get("added_tokens") or [], model)
        ranks = _ranks(model, special)
        check_ranks(ranks, special)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    return Vocabulary(ranks, pattern, special)


def _check_supported(content: dict[str, Any], model: dict[str, Any]) -> None:
    if model.get("type", "BPE") != "BPE":
        raise FormatError(f"`model.type` must be BPE, got {model['type']!r}")
    for name, keys, known in (("", content.keys(), _KEYS), ("model.", model.keys(), _MODEL_KEYS)):
        if unknown := sorted(keys - known):
            raise FormatError(f"`{name}{unknown[0]}` is an unknown key, which could change ids")
    # `unk_token` and `byte_fallback` have no effect, because every byte has a token
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise FormatError(f"`model.{key}` must be empty in byte-level BPE, got {model[key]!r}")
    if content.get("normalizer"):
        kind = _kind(content["normalizer"])
        raise FormatError(f"`normalizer` must be null, got {kind}: normalizing text is not supported")
    for key in ("truncation", "padding"):
        if content.get(key):
            raise FormatError(f"`{key}` must be null: cutting and padding ids is not supported")
    _check_post_processor(content.get("post_processor"))


def _check_post_processor(post_processor: Any) -> None:
    """Accept what only adds special tokens, which `add_special_tokens=False` omits, or sets offsets."""
    if post_processor is None:
        return
    kind = _kind(post_processor)
    if kind == "Sequence":
        for step in post_processor.get("processors") or []:
            _check_post_processor(step)
    elif kind not in ("ByteLevel", "TemplateProcessing", "RobertaProcessing", "BertProcessing"):
        raise FormatError(f"`post_processor` must be ByteLevel or a template, got {kind}")


def _added_tokens(added: Any, model: dict[str, Any]) -> dict[str, int]:
    """Return the added tokens with their ids."""
    if not isinstance(added, list) or not all(isinstance(t, dict) and isinstance(t.get("content"), str) for t in added):
        raise FormatError("`added_tokens` must be a list of tokens")
    vocabulary, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocabulary, dict) or not isinstance(merges, list):
        raise FormatError("`model.vocab` must be an object and `model.merges` a list")
    formed = {"".join(merge.split(" ") if isinstance(merge, str) else map(str, merge)) for merge in merges
              if isinstance(merge, str | list)}  # fmt: skip
    special: dict[str, int] = {}
    for token in added:
        name = token["content"]
        for flag in ("lstrip", "rstrip", "single_word"):
            if token.get(flag):
                raise FormatError(f"added token {name!r}: `{flag}` is not supported")
        if vocabulary.get(name, token.get("id")) != token.get("id"):
            raise FormatError(f"added token {name!r} has two ids, {vocabulary[name]!r} and {token.get('id')!r}")
        if name in formed or (name in vocabulary and len(name) == 1 and _is_byte(name)):
            raise FormatError(f"added token {name!r} is an ordinary token, too, which is not supported")
        given = vocabulary.get(name, max(len(vocabulary), max(special.values(), default=-1) + 1))
        if token.get("id") != given:  # `tokenizers` ignores the stated id
            raise FormatError(f"added token {name!r} has the id {token.get('id')!r}, but `tokenizers` gives it {given}")
        special[name] = given
    return special


def _is_byte(character: str) -> bool:
    try:
        from_printable(character)
    except ValueError:
        return False
    return True


def _ranks(model: dict[str, Any], special: dict[str, int]) -> dict[bytes, int]:
    """Return token -> id, and prove that merging by rank gives the ids of merging by the list of merges.

    The proof: only one pair of tokens ever forms a token (`fast/kernels/merge.py` says why). If that pair is among the
    token's merges, and the merges are in the order of ids, then both apply the same merge at every step.
    """
    vocabulary, merges = model["vocab"], model["merges"]
    pairs_of: dict[str, set[tuple[str, str]]] = {}
    last = -1
    for number, merge in enumerate(merges):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
            raise FormatError(f"merge {number} must be two tokens, got {merge!r}")
        a, b = parts
        for token in (a, b, a + b):
            if token not in vocabulary:
                raise FormatError(f"merge {number} names {token!r}, which is not in the vocabulary")
        if not isinstance(vocabulary[a + b], int) or vocabulary[a + b] < last:
            raise FormatError(f"merge {number} forms {a + b!r}, whose id must not be below that of an earlier merge")
        last = vocabulary[a + b]
        pairs_of.setdefault(a + b, set()).add((a, b))
    ranks, printable = {}, {}
    for token, i in vocabulary.items():
        if token in special:
            continue
        if token not in pairs_of and len(token) > 1 and not model.get("ignore_merges"):
            raise FormatError(f"no merge forms the token {token!r}. Is the list of merges complete?")
        try:
            data = from_printable(token)
        except ValueError as error:
            raise FormatError(f"{error}. Is this a byte-level vocabulary?") from None
        ranks[data], printable[data] = i, token
    check_ranks(ranks, special)
    for data, i in ranks.items():
        parts = byte_pair_merge(data, ranks, below=i) if len(data) > 1 else []
        if len(parts) == 2:
            pair = printable[parts[0]], printable[parts[1]]
            if pair not in pairs_of.get(printable[data], ()):
                raise FormatError(f"the token {printable[data]!r} must have the merge {pair}")
        elif len(parts) > 2 and not model.get("ignore_merges"):
            raise FormatError(f"the token {printable[data]!r} can never be formed, because earlier merges prevent it")
    return ranks


def _kind(component: Any) -> str:
    return str(component.get("type")) if isinstance(component, dict) else repr(component)


def _pattern(pre_tokenizer: Any) -> str | None:
    """Return the pattern that a pre-tokenizer means."""
    steps = [pre_tokenizer]
    if isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "Sequence":
        steps = pre_tokenizer.get("pretokenizers") or []
    match steps:
        case [{"type": "ByteLevel", "add_prefix_space": False, **more}]:
            return "gpt2" if more.get("use_regex", True) else None
        case [
            {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            return pattern
    kinds = " + ".join(_kind(step) for step in steps)
    raise FormatError(
        f"`pre_tokenizer` must be ByteLevel without a prefix space, or one isolating Split before it, got {kinds}"
    )
