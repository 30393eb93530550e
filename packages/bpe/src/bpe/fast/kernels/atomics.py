"""What several threads need that share a table: a lock that nobody waits for, and the order of reads and writes.

A thread that stores an entry writes everything else, then `release_fence`, then the word that says that the entry is
there. A thread that reads sees this word, then `acquire_fence`, then everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba import extending

from bpe.fast.struct_layout import WRITING

types: Any = numba.types
WORD = ir.IntType(64)


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that returns a signature and a writer of LLVM instructions callable in kernels."""
    return cast(Callable[..., Any], extending.intrinsic(function))


def writing(builder: Any, filled: Any) -> Any:
    """Return a pointer to filled[WRITING]; by arithmetic, because versions of llvmlite differ in their pointers."""
    address = builder.add(builder.ptrtoint(filled, WORD), ir.Constant(WORD, 8 * WRITING))
    return builder.inttoptr(address, WORD.as_pointer())


@intrinsic
def try_lock(context: Any, filled: Any) -> Any:
    """Become the one thread that writes, unless there is one. Returns whether it did."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        free, taken = ir.Constant(WORD, 0), ir.Constant(WORD, 1)
        done = builder.cmpxchg(writing(builder, arguments[0]), free, taken, "acquire", "monotonic")
        return builder.extract_value(done, 1)

    return types.boolean(filled), code


@intrinsic
def unlock(context: Any, filled: Any) -> Any:
    """Let other threads write."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(ir.Constant(WORD, 0), writing(builder, arguments[0]), "release", 8)
        return context.get_dummy_value()

    return types.none(filled), code


@intrinsic
def acquire_fence(context: Any) -> Any:
    """Reads after this one see what was written before what the reads before it saw."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("acquire")
        return context.get_dummy_value()

    return types.none(), code


@intrinsic
def release_fence(context: Any) -> Any:
    """Whoever sees what is written after this also sees what was written before."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("release")
        return context.get_dummy_value()

    return types.none(), code
