"""Hugging Face's `tokenizer.json`, as `tokenizers.Tokenizer.from_file` and `transformers` read it.

The format describes many kinds of tokenizers. Read here is byte-level BPE without a normalizer: GPT-2's, and those with
a pattern of their own (`Split`) before `ByteLevel`. Anything else is refused by name, never read as something near it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpe._common.atomic import write_json
from bpe.errors import FormatError
from bpe.formats import openai
from bpe.formats.base import Vocabulary
from bpe.pretokenize import PATTERNS

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

NAME = "tokenizer.json"
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
_ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def export(tokenizer: Tokenizer, folder: Path) -> list[Path]:
    """Write tokenizer.json and tokenizer_config.json; with GPT-2's pattern vocab.json and merges.txt, too."""
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
            "ignore_merges": False,
            "vocab": openai.printable_vocabulary(tokenizer),
            "merges": openai.merge_lines(tokenizer),
        },
    }
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if "<|endoftext|>" in tokenizer.special_tokens:
        config |= {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    files = [folder / NAME, folder / "tokenizer_config.json"]
    write_json(files[0], content)
    write_json(files[1], config)
    if tokenizer.pattern == "gpt2":
        files += openai.export(tokenizer, folder, openai.HUGGINGFACE)
    return files


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


def parse(found: dict[str, Any], path: Path) -> Vocabulary:
    """Ranks, pattern and special tokens of a file's content."""
    model = found.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        raise FormatError(f"{path}: its model is not BPE")
    for key in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(key):
            raise FormatError(f"{path}: model.{key} is {model[key]!r}; byte-level BPE has none")
    if found.get("normalizer"):
        raise FormatError(f"{path}: it has a normalizer, which changes the text; that is not supported")
    pattern = _pattern(found.get("pre_tokenizer"), path)
    added = found.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(t, dict) and isinstance(t.get("content"), str) for t in added):
        raise FormatError(f"{path}: added_tokens: it has to be a list of tokens")
    for token in added:
        for flag in ("lstrip", "rstrip", "single_word"):
            if token.get(flag):
                raise FormatError(f"{path}: added token {token['content']!r}: {flag} is not supported")
    vocabulary, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocabulary, dict) or not isinstance(merges, list):
        raise FormatError(f"{path}: model.vocab has to be an object and model.merges a list")
    for token in added:
        if vocabulary.setdefault(token["content"], token.get("id")) != token.get("id"):
            raise FormatError(f"{path}: added token {token['content']!r} has two ids")
    names = {token["content"] for token in added}
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    if not all(isinstance(pair, list) for pair in pairs):
        raise FormatError(f"{path}: model.merges has to hold pairs of tokens")
    ranks, special = openai.from_printable_merges(vocabulary, pairs, names.__contains__, path)
    return Vocabulary(ranks, pattern, special)


def _pattern(pre_tokenizer: Any, path: Path) -> str | None:
    """The pattern that a pre-tokenizer stands for."""
    steps = [pre_tokenizer]
    if isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "Sequence":
        steps = pre_tokenizer.get("pretokenizers")  # type: ignore[assignment]
    match steps:
        case [{"type": "ByteLevel", "add_prefix_space": False, **more}]:
            return "gpt2" if more.get("use_regex", True) else None
        case [
            {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            return pattern
    raise FormatError(
        f"{path}: its pre_tokenizer is not ByteLevel (without a prefix space), nor one Split before it; "
        "only these are supported"
    )
