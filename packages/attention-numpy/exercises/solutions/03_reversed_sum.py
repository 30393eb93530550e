"""Solution of exercise 3: the digit before shows whether a carry arrived there, and so whether one leaves."""


def next_digit(a: int, b: int, a_before: int, b_before: int, sum_before: int) -> int:
    """The carry into the position before is what its digit has beyond a_before + b_before."""
    arrived = (sum_before - a_before - b_before) % 10
    carry = (a_before + b_before + arrived) // 10
    return (a + b + carry) % 10


def _no_carry(a: int, b: int, a_before: int, b_before: int, sum_before: int) -> int:
    return (a + b) % 10


def _one_carry(a: int, b: int, a_before: int, b_before: int, sum_before: int) -> int:
    return (a + b + (a_before + b_before) // 10) % 10


WRONG = [{"next_digit": _no_carry}, {"next_digit": _one_carry}]
