"""Solution of exercise 1: a space with something on both of its sides."""


def spans_words(token: bytes) -> bool:
    """A space in the middle of a token."""
    return b" " in token.strip()


def _any_space(token: bytes) -> bool:
    return b" " in token


def _never(token: bytes) -> bool:
    return False


WRONG = [{"spans_words": _any_space}, {"spans_words": _never}]
