"""Solution of exercise 2: cl100k groups from the left, so 1,110 pre-tokens cover all numbers."""


def split_number(digits: str, pattern: str) -> list[str]:
    """One pre-token, or groups of three from the left. Numbers cannot fill the vocabulary of the second."""
    return [digits] if pattern == "gpt2" else [digits[i : i + 3] for i in range(0, len(digits), 3)]


def _from_the_right(digits: str, pattern: str) -> list[str]:
    first = len(digits) % 3
    parts = [digits[:first], *(digits[i : i + 3] for i in range(first, len(digits), 3))]
    return [digits] if pattern == "gpt2" else [part for part in parts if part]


def _alike(digits: str, pattern: str) -> list[str]:
    return [digits]


WRONG = [{"split_number": _from_the_right}, {"split_number": _alike}]
