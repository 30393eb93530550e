"""The tokenizer: a vocabulary with its pattern, special tokens and engine, and the facade to all file formats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bpe import special
from bpe._common.errors import check_choice, invalid, is_integer
from bpe.decoding import Decoding
from bpe.encoding import Encoding
from bpe.engines.base import ENGINES, Engine, EngineName
from bpe.engines.choice import choose_engine, compiled_available, make_engine
from bpe.engines.pipeline import PipelineEngine
from bpe.errors import UnknownTokenError
from bpe.lazy import lazy_property
from bpe.offsets import Encoded
from bpe.pipeline import Pipeline
from bpe.pretokenize import check_pattern
from bpe.vocabulary import RAW_BYTE_ORDER, check_ranks, merges_of, ranks_of

__all__ = ["Encoded", "Tokenizer"]

EOT = "<|endoftext|>"


class Tokenizer(Encoding, Decoding):
    """Byte-level BPE over a vocabulary. A tokenizer is immutable; `with_special_tokens` returns another one.

    >>> ranks = {bytes([b]): b for b in range(256)} | {b"he": 256, b"llo": 258, b"lo": 257, b"hello": 259}
    >>> tok = Tokenizer(ranks, pattern="gpt2", special_tokens={"<|endoftext|>": 260}, engine="python")
    >>> tok.encode("hello<|endoftext|>", allowed_special="all"), tok.decode([259, 260])
    ([259, 260], 'hello<|endoftext|>')
    """

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        *,
        pattern: str | None = "gpt2",
        special_tokens: Mapping[str, int] | None = None,
        engine: EngineName = "auto",
    ) -> None:
        """Build a tokenizer.

        Args:
            ranks: token -> id. A lower id is merged earlier; each single byte must be a token.
            pattern: `gpt2`, `cl100k`, `o200k`, a regular expression, or None for no split into pre-tokens.
            special_tokens: name -> id.
            engine: `python`, `numba`, or `auto`: numba where it is installed.

        Raises: ValueError for a vocabulary that cannot encode every text or decode every id.
        """
        given: dict[str, object] = {"ranks": ranks, "special_tokens": special_tokens or {}}
        for name, value in given.items():
            if not isinstance(value, Mapping):
                raise invalid(name, "be a mapping from token to id", value)
        names = dict(special_tokens or {})
        special.check_names(names)
        check_ranks(ranks, names)
        self._set(dict(ranks), check_pattern(pattern), names, engine)

    def _set(
        self,
        ranks: dict[bytes, int],
        pattern: str | None,
        special_tokens: Mapping[str, int],
        engine: EngineName,
        pipeline: Pipeline | None = None,
        model_max_length: int | None = None,
    ) -> None:
        """Set the attributes, which are read-only from then on."""
        added = () if pipeline is None else pipeline.added_tokens
        self.__dict__.update(
            pipeline=pipeline,
            model_max_length=model_max_length,
            added_tokens={token.content: token.id for token in added if not token.special},
            ranks=ranks,
            pattern=pattern,
            special_tokens=dict(special_tokens),
            special_tokens_set=frozenset(special_tokens),
            engine=choose_engine(engine),
            _requested_engine=engine,
            _any_special=special.finder(frozenset(special_tokens)) if special_tokens else None,
        )

    engine: Literal["python", "numba"]
    """The engine in use."""
    model_max_length: int | None
    """Longest input of the model in tokens, if its file states it; `encode` cuts nothing."""
    _requested_engine: EngineName

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: encoding would keep the old value, and `save` would write the new one."""
        raise AttributeError(f"a Tokenizer is immutable; {name!r} cannot be set. Build another one")

    @lazy_property
    def _engine(self) -> Engine:
        steps = self._steps
        if steps is None:
            engine = make_engine(self._requested_engine, self.ranks, self.pattern)
        else:
            ranks = self.ranks if steps.merge_order is None else steps.merge_order
            split = None if steps.pre_tokenizers is None else steps.pretokenize
            engine = PipelineEngine(make_engine(self._requested_engine, ranks, self.pattern, split), steps, self.ranks)
        self.__dict__["engine"] = engine.name  # python, if numba was requested by `auto` and does not work
        return engine

    @classmethod
    def from_merges(
        cls,
        merges: Iterable[tuple[int, int]],
        *,
        byte_order: bytes = RAW_BYTE_ORDER,
        pattern: str | None = "gpt2",
        special_tokens: Mapping[str, int] | None = None,
        engine: EngineName = "auto",
    ) -> Tokenizer:
        """Build a tokenizer from pairs of ids in the order of training.

        byte_order: the 256 bytes in the order of their ids. The ids skip those of `special_tokens`.
        """
        taken = list((special_tokens or {}).values())
        ranks = ranks_of(merges, byte_order, taken)
        return cls(ranks, pattern=pattern, special_tokens=special_tokens, engine=engine)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        pattern: str | Literal["as stated"] | None = "as stated",
        special_tokens: Mapping[str, int] | None = None,
        engine: EngineName = "auto",
    ) -> Tokenizer:
        """Read a tokenizer of any format from a file or a folder; see `bpe.formats`.

        A `.tiktoken` file states neither pattern nor special tokens: pass `pattern` and `special_tokens` with it.
        `special_tokens` are added to those that the file states.
        """
        from bpe.formats import load

        found = load(Path(path), pattern=pattern, special_tokens=special_tokens)
        check_choice("engine", engine, ENGINES)
        tokenizer = object.__new__(cls)  # the formats check what __init__ checks
        tokenizer._set(found.ranks, found.pattern, found.special_tokens, engine, found.pipeline, found.model_max_length)
        return tokenizer

    def save(self, path: str | Path) -> None:
        """Write one `.json` file in the native format."""
        from bpe.formats import native

        native.save(self, Path(path))

    def export(self, folder: str | Path, format: Literal["huggingface", "openai", "tiktoken"]) -> list[Path]:
        """Write the files of another format into a folder and return their paths."""
        from bpe.formats import export

        return export(self, Path(folder), format)

    def with_special_tokens(self, special_tokens: Mapping[str, int] | Sequence[str]) -> Tokenizer:
        """Return this tokenizer with more special tokens. New names without ids get the next ids.

        A name that exists keeps its id. Raises: ValueError if it is given another one.
        """
        new = special.assign_ids(
            special_tokens
            if isinstance(special_tokens, Mapping)
            else [name for name in special.check_names(special_tokens) if name not in self.special_tokens],
            self.n_vocab,
        )
        for name, i in new.items():
            if self.special_tokens.get(name, i) != i:
                raise invalid(f"special_tokens[{name!r}]", f"keep its id {self.special_tokens[name]}", i)
        both = {**self.special_tokens, **new}
        pipeline = None if self.pipeline is None else self.pipeline.with_special_tokens(new)
        taken = {**both, **self.added_tokens}
        check_ranks(self.ranks, {name: i for name, i in taken.items() if name in new or i not in self._ordinary_ids})
        other = object.__new__(type(self))  # shares the vocabulary and the engine, which __init__ would build again
        other._set(self.ranks, self.pattern, both, self._requested_engine, pipeline, self.model_max_length)
        if other._steps is None:
            other.__dict__.update(_engine=self._engine, engine=self.engine)
        return other

    @lazy_property
    def _ordinary_ids(self) -> frozenset[int]:
        return frozenset(self.ranks.values())

    # ------------------------------------------------------------------------------- the vocabulary

    @lazy_property
    def n_vocab(self) -> int:
        """The highest id plus one."""
        return max(max(self.ranks.values()), *self.special_tokens.values(), *self.added_tokens.values(), 0) + 1

    @property
    def vocab_size(self) -> int:
        """The highest id plus one; tiktoken calls it `n_vocab`."""
        return self.n_vocab

    @property
    def max_token_value(self) -> int:
        """The highest id."""
        return self.n_vocab - 1

    @property
    def eot_token(self) -> int:
        """The id of `<|endoftext|>`. Raises: UnknownTokenError if this vocabulary does not have it."""
        if EOT not in self.special_tokens:
            raise UnknownTokenError(f"this tokenizer has no special token {EOT}, so it has no `eot_token`")
        return self.special_tokens[EOT]

    def is_special_token(self, token: int) -> bool:
        """Return whether an id belongs to a special token."""
        if not is_integer(token):
            raise invalid("token", "be an integer", token)
        return token in self.special_tokens.values()

    @lazy_property
    def merges(self) -> list[tuple[int, int]]:
        """The pair of ids that forms each token, in the order of training, which is as a rule that of the ids."""
        order = None if self.pipeline is None else self.pipeline.merge_order
        if order is None:
            return merges_of(self.ranks)
        id_of = {rank: self.ranks[token] for token, rank in order.items()}
        return [(id_of[a], id_of[b]) for a, b in merges_of(order)]

    def __repr__(self) -> str:
        """Return a one-line summary."""
        steps = self._steps
        split = f"pattern {self.pattern!r}" if steps is None or steps.pre_tokenizers is None else "several splits"
        return f"<bpe.Tokenizer: {self.n_vocab:,} ids, {split}, engine {self.engine}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the vocabulary and the settings; the engine is built again where it is needed."""
        state = self.ranks, self.pattern, self.special_tokens, self._requested_engine
        return _unpickled, (type(self), *state, self.pipeline, self.model_max_length)


def _unpickled(
    kind: type[Tokenizer],
    ranks: dict[bytes, int],
    pattern: str | None,
    special_tokens: dict[str, int],
    engine: EngineName,
    pipeline: Pipeline | None,
    model_max_length: int | None,
) -> Tokenizer:
    tokenizer = object.__new__(kind)  # its parts were checked when it was built
    available = engine if compiled_available() else "python"  # another machine may lack numba
    tokenizer._set(ranks, pattern, special_tokens, available, pipeline, model_max_length)
    return tokenizer
