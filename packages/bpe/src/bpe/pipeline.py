"""What a `tokenizer.json` does around BPE: added tokens, normalizers, several pre-tokenizers, a template.

The tokenizers of OpenAI need none of this: their text is split by one pattern. Files of other models are read into a
`Pipeline`, which computes the pre-tokens that the library `tokenizers` computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

from bpe._common.errors import invalid
from bpe.added_tokens import AddedToken, AddedTokens, Segment
from bpe.lazy import lazy_property
from bpe.pretokenizers import Step

Normalizer = Callable[[str], str]


@dataclass(frozen=True)
class Pipeline:
    """The steps from text to pre-tokens, and the ids that a template adds."""

    normalizers: tuple[Normalizer, ...] = ()
    pre_tokenizers: tuple[Step, ...] | None = None
    """The steps that split a normalized text; None: only the pattern of the tokenizer."""
    added_tokens: tuple[AddedToken, ...] = ()
    prefix_ids: tuple[int, ...] = ()
    """Ids that the template puts before a text."""
    suffix_ids: tuple[int, ...] = ()
    """Ids that the template puts after a text."""
    merge_order: Mapping[bytes, int] | None = None
    """Token -> rank, where the order of the merges is not the order of the ids (RoBERTa)."""
    components: Mapping[str, Any] = field(default_factory=dict)
    """The parts of the file that this was read from, for writing it again."""
    listed: tuple[str, ...] = ()
    """Added tokens that the file also lists in its vocabulary, without a merge."""

    @lazy_property
    def is_plain(self) -> bool:
        """Whether texts are encoded as without this pipeline, which then only adds a template."""
        return not self.normalizers and self.pre_tokenizers is None and self.merge_order is None and self._adds_plainly

    @property
    def _adds_plainly(self) -> bool:
        flags = [(t.single_word, t.lstrip, t.rstrip, not t.special) for t in self.added_tokens]
        return not any(map(any, flags)) and len({t.normalized for t in self.added_tokens}) < 2

    def normalize(self, text: str) -> str:
        """Return the normalized text."""
        for step in self.normalizers:
            text = step(text)
        return text

    @lazy_property
    def _added(self) -> AddedTokens:
        return AddedTokens(self.added_tokens, self.normalize)

    def segments(self, text: str, allowed: AbstractSet[str]) -> Iterator[Segment]:
        """Yield the ids of added tokens and the normalized texts between them."""
        return self._added.split(text, allowed)

    def pretokenize(self, text: str) -> list[str]:
        """Return the pre-tokens of a normalized text. Their bytes may differ from those of the text."""
        parts = [text] if text else []
        for step in self.pre_tokenizers or ():
            parts = [piece for part in parts for piece in step(part)]
        return parts

    def special_in(self, text: str) -> list[tuple[str, int]]:
        """Return the special tokens that are found in a text, with their ids."""
        special = {token.id: token.content for token in self.added_tokens if token.special}
        found = self.segments(text, frozenset(special.values()))
        return [(special[i], i) for i in found if isinstance(i, int) and i in special]

    def with_special_tokens(self, special_tokens: Mapping[str, int]) -> Pipeline:
        """Return a pipeline with more special tokens."""
        known = {token.content: token for token in self.added_tokens}
        if ordinary := [name for name in special_tokens if name in known and not known[name].special]:
            raise invalid("special_tokens", "not hold an added token that is not special", ordinary[0])
        more = [AddedToken(name, i) for name, i in special_tokens.items() if name not in known]
        return replace(self, added_tokens=(*self.added_tokens, *more))

    def with_template(self, ids: Sequence[int]) -> list[int]:
        """Return the ids of a text between those of the template."""
        return [*self.prefix_ids, *ids, *self.suffix_ids]
