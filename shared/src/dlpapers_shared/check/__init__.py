"""Check your own implementation: output and gradients against a reference, and the mistake that explains a difference.

>>> from dlpapers_shared import check
>>> def mine(step, d_model, warmup_steps):
...     return d_model**-0.5 * min(step**-0.5, step * warmup_steps**-0.5)
>>> print(check.schedule(mine))
schedule: mine (NumPy)
  FAIL  steps 1 to 20, d_model 16, warmup_steps 4      ...
  FAIL  around the peak, d_model 512, warmup_steps 4,000 ...
This matches a common mistake: warm-up exponent: warmup_steps^-0.5 instead of warmup_steps^-1.5.
0 of 2 checks pass
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlpapers_shared.check.report import Report
    from dlpapers_shared.check.subjects.adam import adam
    from dlpapers_shared.check.subjects.attention import attention
    from dlpapers_shared.check.subjects.block import decoder_block
    from dlpapers_shared.check.subjects.bpe_encoder import bpe_encoder
    from dlpapers_shared.check.subjects.bpe_trainer import bpe_trainer
    from dlpapers_shared.check.subjects.cross_entropy import cross_entropy, label_smoothing, softmax
    from dlpapers_shared.check.subjects.layer_norm import layer_norm
    from dlpapers_shared.check.subjects.multi_head import multi_head_attention
    from dlpapers_shared.check.subjects.positions import positional_encoding
    from dlpapers_shared.check.subjects.sampling import temperature, top_k, top_p
    from dlpapers_shared.check.subjects.schedule import schedule

__all__ = [
    "attention",
    "multi_head_attention",
    "layer_norm",
    "decoder_block",
    "positional_encoding",
    "softmax",
    "cross_entropy",
    "label_smoothing",
    "adam",
    "schedule",
    "bpe_encoder",
    "bpe_trainer",
    "top_k",
    "top_p",
    "temperature",
    "Report",
]

_SUBJECTS = {
    "attention": ("attention",),
    "multi_head": ("multi_head_attention",),
    "layer_norm": ("layer_norm",),
    "block": ("decoder_block",),
    "positions": ("positional_encoding",),
    "cross_entropy": ("softmax", "cross_entropy", "label_smoothing"),
    "adam": ("adam",),
    "schedule": ("schedule",),
    "bpe_encoder": ("bpe_encoder",),
    "bpe_trainer": ("bpe_trainer",),
    "sampling": ("top_k", "top_p", "temperature"),
}
_EXPORTS = {name: f"dlpapers_shared.check.subjects.{file}" for file, names in _SUBJECTS.items() for name in names}
_EXPORTS["Report"] = "dlpapers_shared.check.report"


def __getattr__(name: str) -> Any:
    """Import a check when it is first used."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: Any = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted({*globals(), *__all__})
