"""Hugging Face's `tokenizer.json`, as `tokenizers.Tokenizer.from_file` and `transformers` read it.

The format describes many kinds of tokenizers. This module reads byte-level BPE: the vocabulary and the merges here, and
what surrounds them in `huggingface_components.py`. Files converted from `.tiktoken` list several merges per token, and
RoBERTa's ids are not in the order of the merges; both are read exactly. Anything else is refused by name, and so is an
unknown key, because ignoring it could change ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpe._common.atomic import write_json
from bpe.added_tokens import AddedToken
from bpe.byte_unicode import from_printable, to_printable
from bpe.errors import FormatError
from bpe.formats import huggingface_components as components
from bpe.formats import openai
from bpe.formats.base import Vocabulary, read_json
from bpe.merge import byte_pair_merge
from bpe.pattern_syntax import translate
from bpe.pipeline import Pipeline
from bpe.pretokenize import PATTERNS
from bpe.vocabulary import check_ranks

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

NAME, CONFIG = "tokenizer.json", "tokenizer_config.json"
COMPONENTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
"""The keys that a pipeline stores, so that the file can be written again."""
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
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
    content = content_of(tokenizer)
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if "<|endoftext|>" in tokenizer.special_tokens:
        config |= {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    if tokenizer.model_max_length is not None:
        config["model_max_length"] = tokenizer.model_max_length
    files = [folder / NAME, folder / CONFIG]
    write_json(files[0], content)
    write_json(files[1], config)
    if tokenizer.pattern == "gpt2" and tokenizer.pipeline is None and not content["model"]["ignore_merges"]:
        files += openai.export(tokenizer, folder, openai.HUGGINGFACE)
    return files


def content_of(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the content of a tokenizer.json. Raises: FormatError if it would mean something else there."""
    pipeline = tokenizer.pipeline
    ranks = tokenizer.ranks if pipeline is None or pipeline.merge_order is None else pipeline.merge_order
    try:
        merges, ignore_merges = openai.merge_lines(tokenizer), False
    except FormatError:
        merges, ignore_merges = _all_merges(ranks), True
    special = sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
    added = [AddedToken(name, i) for name, i in special] if pipeline is None else pipeline.added_tokens
    vocabulary = _vocabulary(tokenizer, ignore_merges=ignore_merges)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(token) for token in added],
        **(_components(tokenizer.pattern) if pipeline is None else pipeline.components),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": ignore_merges,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def _vocabulary(tokenizer: Tokenizer, *, ignore_merges: bool) -> dict[str, int]:
    """Return the vocabulary of the model, such that `tokenizers` gives each added token its id."""
    pipeline = tokenizer.pipeline
    if pipeline is None:
        return openai.printable_vocabulary(tokenizer)
    listed = {token.content: token.id for token in pipeline.added_tokens if token.content in pipeline.listed}
    vocabulary = {to_printable(token): i for token, i in tokenizer.ranks.items()} | listed
    outside = [token for token in pipeline.added_tokens if token.content not in vocabulary]
    if [token.id for token in outside] != list(range(len(vocabulary), len(vocabulary) + len(outside))):
        if ignore_merges:  # a token that is listed would also be found where it is not an added token
            raise FormatError("ids of added tokens must follow those of the vocabulary in a tokenizer.json like this")
        vocabulary |= {token.content: token.id for token in outside}
    return dict(sorted(vocabulary.items(), key=lambda item: item[1]))


def _added_token(token: AddedToken) -> dict[str, Any]:
    flags = {flag: getattr(token, flag) for flag in ("single_word", "lstrip", "rstrip", "normalized", "special")}
    return {"id": token.id, "content": token.content, **flags}


def _components(pattern: str | None) -> dict[str, Any]:
    return {
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(pattern),
        "post_processor": _BYTE_LEVEL,
        "decoder": _BYTE_LEVEL,
    }


def _for_tokenizers(pattern: str) -> str:
    """Return a pattern that means in `tokenizers` what this one means here. Raises: FormatError if there is none."""
    try:
        text = translate(pattern, "tiktoken")
        if translate(text, "tokenizers") == text:
            return pattern if translate(pattern, "tokenizers") == text else text
    except ValueError:
        pass
    raise FormatError(f"`pattern` must have an equal in `tokenizers`, got {pattern!r}")


def _all_merges(ranks: Mapping[bytes, int]) -> list[str]:
    """Return all pairs of tokens that form a token, in the order of its rank."""
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
        "pattern": {"Regex": PATTERNS[pattern] if pattern in PATTERNS else _for_tokenizers(pattern)},
        "behavior": "Isolated",
        "invert": False,
    }
    return {"type": "Sequence", "pretokenizers": [split, _BYTE_LEVEL]}


def parse(content: dict[str, Any], path: Path) -> Vocabulary:
    """Return the vocabulary of a file's content. path: named in errors.

    Its ids are those of `tokenizers` with `add_special_tokens=False`.
    """
    try:
        found = _read(content)
        config = path.with_name(CONFIG)
        found.model_max_length = _model_max_length(config) if config.is_file() else None
    except FormatError as error:
        raise FormatError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    return found


def _read(content: dict[str, Any]) -> Vocabulary:
    model = content["model"]
    _check_supported(content, model)
    vocabulary, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocabulary, dict) or not isinstance(merges, list):
        raise FormatError("`model.vocab` must be an object and `model.merges` a list")
    normalizers = components.read_normalizers(content.get("normalizer"))
    pattern, steps = components.read_pre_tokenizers(content.get("pre_tokenizer"))
    added = components.read_added_tokens(content.get("added_tokens") or [], vocabulary)
    ids, order = _ranks(model, added)
    ordinary, names = set(ids.values()), {token.content: token.id for token in added}
    prefix, suffix = components.read_template(content.get("post_processor"), {**vocabulary, **names})
    special = {token.content: token.id for token in added if token.special}
    pipeline = Pipeline(
        normalizers,
        steps,
        added,
        prefix_ids=tuple(prefix),
        suffix_ids=tuple(suffix),
        merge_order=order,
        components={key: content.get(key) for key in COMPONENTS},
        listed=tuple(name for name, i in vocabulary.items() if name in names and i not in ordinary),
    )
    check_ids(ids, pipeline)
    known = {*ordinary, *names.values()}
    if unknown := [i for i in (*prefix, *suffix) if i not in known]:
        raise FormatError(f"`post_processor` must add ids of the vocabulary, got {unknown[0]}")
    try:
        pipeline.special_in("")
    except ValueError as error:
        raise FormatError(str(error)) from None
    is_needed = not pipeline.is_plain or prefix or suffix or any(token.id in ordinary for token in added)
    return Vocabulary(ids, pattern, special, pipeline=pipeline if is_needed else None)


def check_ids(ids: dict[bytes, int], pipeline: Pipeline) -> None:
    """Raise FormatError unless every id is one ordinary token or one added token; an added token may be both."""
    ordinary = set(ids.values())
    both = {token.content for token in pipeline.added_tokens if token.id in ordinary}
    for token in pipeline.added_tokens:
        if token.content in both and _bytes_of(token.content) not in ids:
            raise FormatError(f"two tokens with the id {token.id}: added token {token.content!r} and an ordinary token")
    check_ranks(ids, {token.content: token.id for token in pipeline.added_tokens if token.content not in both})


def _model_max_length(config: Path) -> int | None:
    """Return the longest input that tokenizer_config.json states; `transformers` writes 1e30 for none."""
    content = read_json(config)
    length = content.get("model_max_length") if isinstance(content, dict) else None
    return length if type(length) is int and 0 < length < 10**9 else None


def _check_supported(content: dict[str, Any], model: dict[str, Any]) -> None:
    kind = model.get("type", "BPE")
    if kind == "Unigram":
        raise FormatError("`model.type` must be BPE, got 'Unigram', which is SentencePiece's unigram model")
    if kind != "BPE":
        raise FormatError(f"`model.type` must be BPE, got {kind!r}")
    if content.get("version", "1.0") != "1.0":
        raise FormatError(f"`version` must be '1.0', got {content['version']!r}")
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict) and "<0x00>" in vocabulary:
        raise FormatError("`model` must be byte-level BPE, got the BPE of SentencePiece with byte fallback (<0x00>)")
    for name, keys, known in (("", content.keys(), _KEYS), ("model.", model.keys(), _MODEL_KEYS)):
        if unknown := sorted(keys - known):
            raise FormatError(f"`{name}{unknown[0]}` is an unknown key, which could change ids")
    # `unk_token` and `byte_fallback` have no effect, because every byte has a token
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise FormatError(f"`model.{key}` must be empty in byte-level BPE, got {model[key]!r}")
    for key in ("truncation", "padding"):
        if content.get(key):
            raise FormatError(f"`{key}` must be null: cutting and padding ids is not supported")


def _bytes_of(token: str) -> bytes | None:
    try:
        return from_printable(token)
    except ValueError:
        return None


def _ranks(model: dict[str, Any], added: Sequence[AddedToken]) -> tuple[dict[bytes, int], dict[bytes, int] | None]:
    """Return token -> id, and token -> rank where the order of merges is another one than that of ids.

    Proves that merging by rank gives the ids of merging by the list of merges: only one pair of tokens ever forms a
    token (`fast/kernels/merge.py` says why). If that pair is among the token's merges, and the merges of a token are
    neighbors in the list, then both apply the same merge at every step.
    """
    vocabulary, ignore_merges = model["vocab"], bool(model.get("ignore_merges"))
    pairs_of = _pairs_of(model["merges"], vocabulary)
    special = {token.content: token for token in added if token.special}
    ids: dict[bytes, int] = {}
    printable: dict[bytes, str] = {}
    contents = {token.content for token in added}
    for token, i in vocabulary.items():
        is_byte = len(token) == 1 and _bytes_of(token) is not None
        is_formed = token in pairs_of or is_byte
        if not is_formed and token in special and ignore_merges and special[token].single_word:
            raise FormatError(f"added token {token!r}: `single_word` is not supported here, because of `ignore_merges`")
        if not is_formed and (token in special or (token in contents and not ignore_merges)):
            continue
        if not is_formed and not ignore_merges:
            raise FormatError(f"no merge forms the token {token!r}. Is the list of merges complete?")
        try:
            data = from_printable(token)
        except ValueError as error:
            raise FormatError(f"{error}. Is this a byte-level vocabulary?") from None
        ids[data], printable[data] = i, token
    check_ranks(ids, {})
    formed = [vocabulary[token] for token in pairs_of]
    order = None if formed == sorted(formed) else _order_of_merges(ids, printable, list(pairs_of))
    _check_pairs(order or ids, printable, pairs_of, ignore_merges)
    return ids, order


def _pairs_of(merges: list[Any], vocabulary: dict[str, Any]) -> dict[str, set[tuple[str, str]]]:
    """Return the pairs that form each token, in the order of the merges."""
    pairs_of: dict[str, set[tuple[str, str]]] = {}
    last = ""
    for number, merge in enumerate(merges):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
            raise FormatError(f"merge {number} must be two tokens, got {merge!r}")
        a, b = parts
        for token in (a, b, a + b):
            if token not in vocabulary:
                raise FormatError(f"merge {number} names {token!r}, which is not in the vocabulary")
            if type(vocabulary[token]) is not int:
                raise FormatError(f"every id must be an integer from 0 to 2^32 - 1, got {vocabulary[token]!r}")
        if a + b in pairs_of and a + b != last:
            raise FormatError(f"merge {number} forms {a + b!r} again, after merges of other tokens")
        last = a + b
        pairs = pairs_of.setdefault(last, set())
        if (a, b) in pairs:
            raise FormatError(f"merge {number} repeats the merge {(a, b)}")
        pairs.add((a, b))
    return pairs_of


def _order_of_merges(ids: dict[bytes, int], printable: dict[bytes, str], formed: list[str]) -> dict[bytes, int]:
    """Return ranks in the order of the merges: bytes first, and tokens that no merge forms last."""
    place = {token: number for number, token in enumerate(formed, start=1)}
    last = len(formed) + 1
    by_merge = sorted(ids, key=lambda data: (0 if len(data) == 1 else place.get(printable[data], last), ids[data]))
    return {data: rank for rank, data in enumerate(by_merge)}


def _check_pairs(
    ranks: dict[bytes, int], printable: dict[bytes, str], pairs_of: dict[str, set[tuple[str, str]]], ignore_merges: bool
) -> None:
    for data, rank in ranks.items():
        parts = byte_pair_merge(data, ranks, below=rank) if len(data) > 1 else []
        if len(parts) == 2:
            pair = printable[parts[0]], printable[parts[1]]
            if pair not in pairs_of.get(printable[data], ()):
                raise FormatError(f"the token {printable[data]!r} must have the merge {pair}")
        elif len(parts) > 2 and not ignore_merges:
            raise FormatError(f"the token {printable[data]!r} can never be formed, because earlier merges prevent it")
