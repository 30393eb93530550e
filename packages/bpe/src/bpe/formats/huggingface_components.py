"""The parts of a `tokenizer.json` around its model: normalizers, pre-tokenizers, added tokens, templates.

Each part is read exactly or refused by name. Keys that are not known are refused, because they could change ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bpe.added_tokens import AddedToken
from bpe.errors import FormatError
from bpe.normalization import FORMS, Prepend, UnicodeForm
from bpe.pattern_syntax import translate
from bpe.pipeline import Normalizer
from bpe.pretokenize import check_pattern, name_of
from bpe.pretokenizers import BEHAVIORS, ByteLevel, Digits, Split, Step

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_POST_PROCESSORS = {
    "ByteLevel": {"add_prefix_space", "trim_offsets", "use_regex"},
    "TemplateProcessing": {"single", "pair", "special_tokens"},
    "RobertaProcessing": {"sep", "cls", "trim_offsets", "add_prefix_space"},
    "BertProcessing": {"sep", "cls"},
    "Sequence": {"processors"},
}


def kind_of(component: Any) -> str:
    """Return the type of a component, for messages."""
    return str(component.get("type")) if isinstance(component, dict) else repr(component)


def _check_keys(component: Mapping[str, Any], where: str, known: set[str]) -> None:
    if unknown := sorted(component.keys() - known - {"type"}):
        raise FormatError(f"`{where}.{unknown[0]}` is an unknown key, which could change ids")


def _check_flag(component: Mapping[str, Any], where: str, key: str, default: bool | None = None) -> bool:
    value = component.get(key, default)
    if not isinstance(value, bool):
        raise FormatError(f"`{where}.{key}` must be true or false, got {value!r}")
    return value


def _sequence(component: Any, where: str, key: str) -> list[Any]:
    """Return the steps of a component, with sequences in sequences unfolded."""
    if not isinstance(component, dict):
        raise FormatError(f"`{where}` must be an object with a type, got {component!r}")
    if component.get("type") != "Sequence":
        return [component]
    _check_keys(component, where, {key})
    if not isinstance(component.get(key), list):
        raise FormatError(f"`{where}.{key}` must be a list, got {component.get(key)!r}")
    return [step for part in component[key] for step in _sequence(part, where, key)]


def read_normalizers(component: Any) -> tuple[Normalizer, ...]:
    """Return the normalizers: NFC, NFD, NFKC, NFKD and Prepend, also several."""
    steps: list[Normalizer] = []
    for step in [] if component is None else _sequence(component, "normalizer", "normalizers"):
        kind = kind_of(step)
        if kind in FORMS:
            _check_keys(step, "normalizer", set())
            steps.append(UnicodeForm(kind))  # type: ignore[arg-type]
        elif kind == "Prepend" and isinstance(step.get("prepend"), str):
            _check_keys(step, "normalizer", {"prepend"})
            steps.append(Prepend(step["prepend"]))
        else:
            raise FormatError(f"`normalizer` must consist of {', '.join(FORMS)} and Prepend, got {kind}")
    return tuple(steps)


def read_pre_tokenizers(component: Any) -> tuple[str | None, tuple[Step, ...] | None]:
    """Return a pattern and None if one pattern is all that the file states, else None and the steps."""
    parts = [] if component is None else _sequence(component, "pre_tokenizer", "pretokenizers")
    last = parts[-1] if parts else {}
    splits = parts[:-1]
    if kind_of(last) != "ByteLevel" or any(kind_of(part) not in ("Split", "Digits") for part in splits):
        kinds = " + ".join(map(kind_of, parts)) or "none"
        raise FormatError(f"`pre_tokenizer` must be Split or Digits steps and then ByteLevel, got {kinds}")
    _check_keys(last, "pre_tokenizer", {"add_prefix_space", "trim_offsets", "use_regex"})
    add_prefix_space = _check_flag(last, "pre_tokenizer", "add_prefix_space", True)
    use_regex = _check_flag(last, "pre_tokenizer", "use_regex", True)
    steps = [_read_split(part) for part in splits]
    if not add_prefix_space and not steps:
        return ("gpt2" if use_regex else None), None
    if not add_prefix_space and not use_regex and len(steps) == 1:
        only = steps[0]
        if isinstance(only, Split) and only.is_regex and only.behavior == "Isolated" and not only.invert:
            if (name := name_of(only.pattern)) is not None:
                return name, None
            if _is_the_same_in_tiktoken(only.pattern):
                return only.pattern, None
    return None, (*steps, ByteLevel(add_prefix_space, use_regex))


def _is_the_same_in_tiktoken(pattern: str) -> bool:
    try:
        return check_pattern(pattern) == pattern and translate(pattern, "tiktoken") == translate(pattern, "tokenizers")
    except ValueError:
        return False


def _read_split(part: dict[str, Any]) -> Step:
    where = "pre_tokenizer"
    if part["type"] == "Digits":
        _check_keys(part, where, {"individual_digits"})
        return Digits(_check_flag(part, where, "individual_digits", False))
    _check_keys(part, where, {"pattern", "behavior", "invert"})
    match part.get("pattern"):
        case {"Regex": str(pattern), **more} if not more:
            is_regex = True
        case {"String": str(pattern), **more} if not more:
            is_regex = False
        case other:
            raise FormatError(f"`{where}.pattern` must be a Regex or a String, got {other!r}")
    if part.get("behavior") not in BEHAVIORS:
        raise FormatError(f"`{where}.behavior` must be one of {', '.join(BEHAVIORS)}, got {part.get('behavior')!r}")
    if not pattern:
        raise FormatError(f"`{where}.pattern` must not be empty")
    try:
        return Split(pattern, is_regex, part["behavior"], _check_flag(part, where, "invert"))
    except FormatError:
        raise
    except ValueError as error:
        raise FormatError(f"`{where}`: {error}") from None


def read_added_tokens(added: Any, vocabulary: Mapping[str, Any]) -> tuple[AddedToken, ...]:
    """Return the added tokens. vocabulary: that of the model; tokens that are in it keep their id."""
    if not isinstance(added, list) or not all(isinstance(t, dict) and isinstance(t.get("content"), str) for t in added):
        raise FormatError("`added_tokens` must be a list of tokens")
    tokens: dict[str, AddedToken] = {}
    following = len(vocabulary)
    for row in added:
        name = row["content"]
        _check_keys(row, f"added_tokens[{name!r}]", {"id", "content", *_FLAGS})
        flags = {flag: _check_flag(row, f"added_tokens[{name!r}]", flag) for flag in _FLAGS}
        if not name or name in tokens:
            raise FormatError(f"added tokens must differ and not be empty, got {name!r}")
        if vocabulary.get(name, row.get("id")) != row.get("id"):
            raise FormatError(f"added token {name!r} has two ids, {vocabulary[name]!r} and {row.get('id')!r}")
        given = vocabulary.get(name, following)
        if row.get("id") != given or type(given) is not int:  # `tokenizers` ignores the stated id
            raise FormatError(f"added token {name!r} has the id {row.get('id')!r}, but `tokenizers` gives it {given}")
        following += name not in vocabulary
        tokens[name] = AddedToken(name, given, **flags)
    return tuple(tokens.values())


def read_template(component: Any, id_of: Mapping[str, int]) -> tuple[list[int], list[int]]:
    """Return the ids that post-processors put before and after a single text. id_of: every token of the file."""
    if component is None:
        return [], []
    kind = kind_of(component)
    if kind not in _POST_PROCESSORS:
        raise FormatError(f"`post_processor` must be ByteLevel or a template, got {kind}")
    _check_keys(component, "post_processor", _POST_PROCESSORS[kind])
    if kind == "Sequence":
        prefix: list[int] = []
        suffix: list[int] = []
        if not isinstance(component.get("processors"), list):
            raise FormatError("`post_processor.processors` must be a list")
        for processor in component["processors"]:
            before, after = read_template(processor, id_of)
            if (before or after) and (prefix or suffix):
                raise FormatError("`post_processor.processors` must hold one template, got several")
            prefix, suffix = before + prefix, suffix + after
        return prefix, suffix
    if kind == "ByteLevel":
        return [], []
    if kind == "TemplateProcessing":
        return _read_pieces(component)
    return [_pair(component, "cls")], [_pair(component, "sep")]


def _pair(component: Mapping[str, Any], key: str) -> int:
    match component.get(key):
        case [str(), int(i)] if not isinstance(i, bool):
            return i
    raise FormatError(f"`post_processor.{key}` must be a token and its id, got {component.get(key)!r}")


def _read_pieces(component: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    special = component.get("special_tokens")
    parts: list[list[int]] = [[]]
    for piece in component.get("single") or []:
        match piece:
            case {"Sequence": {"id": "A"}}:
                parts.append([])
            case {"SpecialToken": {"id": str(name)}}:
                stated = special.get(name) if isinstance(special, dict) else None
                ids = stated.get("ids") if isinstance(stated, dict) else None
                if not isinstance(ids, list) or not all(type(i) is int and i >= 0 for i in ids):
                    raise FormatError(f"`post_processor.special_tokens` must state the ids of {name!r}")
                parts[-1] += ids
            case other:
                raise FormatError(f"`post_processor.single` must hold special tokens and the sequence A, got {other!r}")
    if len(parts) != 2:
        raise FormatError("`post_processor.single` must hold the sequence A once")
    return parts[0], parts[1]
