"""Translate regular expressions of other engines into the syntax of `regex`, or refuse what would change its meaning.

Patterns of tiktoken are written for the Rust crate fancy-regex, those in a `tokenizer.json` for Oniguruma. Most of the
syntax is common to all three. The differences are silent: `$` is the end of the text in Rust, the end of each line in
Oniguruma, and either the end or before a final line feed in Python; `\\w` and `\\b` depend on different character sets.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import regex

Dialect = Literal["tiktoken", "tokenizers"]

# `\w` as each engine defines it. Oniguruma also counts the numbers of Latin-1 that are not decimal.
_WORD = {
    "tiktoken": r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}",
    "tokenizers": r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\xb2\xb3\xb9\xbc-\xbe",
}
_END = r"(?![\s\S])"
_START = r"(?<![\s\S])"
_LINE_END = r"(?![^\n])"
_LINE_START = r"(?<![^\n])(?:(?<![\s\S])|(?=[\s\S]))"  # not after the last line feed of the text
_KNOWN = (
    "L M N P S Z C Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co "
    "Alphabetic Join_Control "
    "Han Hiragana Katakana Hangul Latin Cyrillic Greek Arabic Hebrew Thai Devanagari Bengali Tamil"
)
_CATEGORIES = frozenset(_KNOWN.split())
_PROPERTY = re.compile(r"\{(\w+)\}")
_HEXADECIMAL = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|[xu]\{([0-9A-Fa-f]{1,6})\}")
_QUANTIFIER = re.compile(r"\{\d+(?:,\d*)?\}")
_GROUPS = ("(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>")
_NAMED = re.compile(r"\(\?<[A-Za-z_]\w*>")
_FOLDS_TO_SEVERAL = re.compile(r"ss|ff|fi|fl|st|[^\x00-\x7f]", re.IGNORECASE)


@lru_cache(maxsize=256)
def translate(pattern: str, dialect: Dialect) -> str:
    r"""Return a pattern of another engine in the syntax of `regex`.

    Raises: ValueError that names the construct if it has no exact translation.

    >>> translate(r"\d+$", "tiktoken"), translate("$", "tokenizers")
    ('\\p{Nd}+(?![\\s\\S])', '(?![^\\n])')
    """
    return _Translator(pattern, dialect).run()


class _Translator:
    def __init__(self, pattern: str, dialect: Dialect) -> None:
        self.pattern, self.dialect = pattern, dialect
        self.i = 0

    def refuse(self, construct: str, why: str = "engines differ in its meaning") -> ValueError:
        return ValueError(f"`pattern` must not hold {construct!r}: {why}. Got {self.pattern[:80]!r}")

    def run(self) -> str:
        out: list[str] = []
        pattern, close = self.pattern, ""
        if pattern.startswith("(?i)"):  # in the middle of a pattern, engines differ in what it applies to
            self.i, close = 4, ")"
            out.append("(?i:")
        if self.dialect == "tokenizers" and "(?i" in pattern:
            self._check_case_folding()
        while self.i < len(pattern):
            character = pattern[self.i]
            if character == "\\":
                out.append(self._escape(in_class=False))
            elif character == "[":
                out.append(self._class())
            elif character == "(":
                out.append(self._group())
            elif character == "{":
                out.append(self._quantifier())
            else:
                self.i += 1
                anchors = {"^": (_START, _LINE_START), "$": (_END, _LINE_END)}
                out.append(anchors[character][self.dialect == "tokenizers"] if character in anchors else character)
        return "".join(out) + close

    def _check_case_folding(self) -> None:
        """Oniguruma lets (?i:ss) match "ß"; `regex` does not."""
        text = (
            self.pattern[4:]
            if self.pattern.startswith("(?i)")
            else "".join(re.findall(r"\(\?i:[^()]*\)", self.pattern))
        )
        if found := _FOLDS_TO_SEVERAL.search(re.sub(r"\\p\{\w+\}", "", text)):
            raise self.refuse(found.group(), "without case, it matches characters that `regex` does not match")

    def _escape(self, *, in_class: bool) -> str:
        self.i += 1
        if self.i >= len(self.pattern):
            raise self.refuse("\\", "nothing follows it")
        character = self.pattern[self.i]
        if character in "pP":
            match = _PROPERTY.match(self.pattern, self.i + 1)
            name = match[1] if match else ""
            if name not in _CATEGORIES:
                raise self.refuse(self.pattern[self.i - 1 : self.i + 12], "not a known Unicode category or script")
            self.i += 1 + len(name) + 2
            return f"\\{character}{{{name}}}"
        if hexadecimal := _HEXADECIMAL.match(self.pattern, self.i):
            if hexadecimal[3] and (character == "u") == (self.dialect == "tokenizers"):
                raise self.refuse(f"\\{hexadecimal.group()}")
            self.i = hexadecimal.end()
            code = int(hexadecimal[1] or hexadecimal[2] or hexadecimal[3], 16)
            if (hexadecimal[1] and code > 0x7F) or code > 0x10FFFF:
                raise self.refuse(f"\\{hexadecimal.group()}")
            return regex.escape(chr(code), special_only=False, literal_spaces=True)
        self.i += 1
        word = _WORD[self.dialect]
        if character in "nrtfv" or character in "sS" or not (character.isalnum() or character == "_"):
            return "\\" + character if character.isascii() else character
        if character in "dD":
            return r"\p{Nd}" if character == "d" else r"\P{Nd}"
        if character == "w":
            return word if in_class else f"[{word}]"
        if not in_class:
            if character == "W":
                return f"[^{word}]"
            if character in "bB":
                at_edge = f"(?:(?<=[{word}])(?![{word}])|(?<![{word}])(?=[{word}]))"
                return at_edge if character == "b" else f"(?!{at_edge})"
            if character in "Az":
                return _START if character == "A" else _END
        raise self.refuse(f"\\{character}")

    def _class(self) -> str:
        pattern = self.pattern
        out = ["["]
        self.i += 1
        if pattern.startswith("^", self.i):
            out.append("^")
            self.i += 1
        if pattern.startswith("]", self.i):
            out.append(r"\]")
            self.i += 1
        while self.i < len(pattern) and pattern[self.i] != "]":
            if pattern[self.i] == "\\":
                out.append(self._escape(in_class=True))
                continue
            if pattern[self.i] == "[":
                raise self.refuse(pattern[self.i : self.i + 8], "write it as \\[, because some engines nest sets")
            if (pair := pattern[self.i : self.i + 2]) in ("&&", "--", "~~", "||"):
                raise self.refuse(pair, "some engines combine sets with it")
            out.append(pattern[self.i])
            self.i += 1
        if self.i >= len(pattern):
            raise self.refuse("[", "it is not closed")
        self.i += 1
        return "".join(out) + "]"

    def _group(self) -> str:
        pattern = self.pattern
        if not pattern.startswith("(?", self.i):
            self.i += 1
            return "("
        for start in _GROUPS:
            if pattern.startswith(start, self.i):
                self.i += len(start)
                return start
        if named := _NAMED.match(pattern, self.i):
            self.i = named.end()
            return "(?:"
        raise self.refuse(pattern[self.i : self.i + 5])

    def _quantifier(self) -> str:
        match = _QUANTIFIER.match(self.pattern, self.i)
        if match is None:
            raise self.refuse("{", "write it as \\{")
        self.i = match.end()
        following = self.pattern[self.i : self.i + 1]
        if self.dialect == "tokenizers" and following and following in "+?":
            raise self.refuse(match.group() + following, "Oniguruma does not read it as possessive or lazy")
        return match.group()
