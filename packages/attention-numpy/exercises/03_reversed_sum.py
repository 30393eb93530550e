"""Exercise 3: why is a sum easier to learn when its digits are reversed?

`attention-numpy train addition` learns to add with the digits of the sum reversed; `--no-sum-reversed` makes it harder.
In the reversed sum, the last digit comes first. Show that each digit then follows from five digits that the decoder can
attend to: two of each number, and the digit of the sum that it generated before. In the usual order, the first digit
depends on all carries.

Fill in `next_digit`, then run this file.
"""

from __future__ import annotations

import random


def next_digit(a: int, b: int, a_before: int, b_before: int, sum_before: int) -> int:
    """Return a digit of a sum.

    a, b: the digits of both numbers at this position. a_before, b_before, sum_before: the digits of both numbers and of
    the sum at the position of the next lower power of ten.
    """
    raise NotImplementedError("exercise 3: next_digit")


def check() -> None:
    """Raise AssertionError unless `next_digit` generates the sums of random numbers."""
    rng = random.Random(0)
    pairs = [(rng.randrange(10**6), rng.randrange(10**6)) for _ in range(500)]
    for first, second in [(5, 5), (99, 1), (909, 191), *pairs]:
        a, b, total = (f"{number:08d}"[::-1] for number in (first, second, first + second))
        for i in range(1, 8):
            found = next_digit(int(a[i]), int(b[i]), int(a[i - 1]), int(b[i - 1]), int(total[i - 1]))
            assert found == int(total[i]), f"{first} + {second}: digit {i} from the right is {total[i]}, got {found}"


if __name__ == "__main__":
    check()
    print("exercise 3: correct")
