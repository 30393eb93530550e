"""Export a model as a complete Hugging Face folder: weights, configs, tokenizer, model card."""

from __future__ import annotations

from pathlib import Path

from gpt2._common.device import DTYPES
from gpt2._common.errors import check_choice, invalid
from gpt2._common.run_folder import has_checkpoint
from gpt2.data import tokenizers
from gpt2.pretrained.weights import load, save, write_model_card


def export(
    model: str | Path,
    out: str | Path,
    *,
    dtype: str = "float32",
    n_heads: int | None = None,
    tokenizer: str | None = None,
) -> Path:
    """Write the model of a run, a Hugging Face folder, or a `.pt` file as a Hugging Face folder; return the folder.

    dtype: of the written weights. tokenizer: as `gpt2.data.tokenizers.make` takes it; by default the model's own one.
    Raises: ValueError for a model that transformers cannot compute, and if `out` is the model itself or a run.
    """
    check_choice("dtype", dtype, DTYPES)
    model, out = Path(model), Path(out)
    if out.exists() and out.resolve() == model.resolve():
        raise invalid("out", "be another folder than the model's", str(out))
    if out.exists() and not out.is_dir():
        raise invalid("out", "be a folder", str(out))
    if has_checkpoint(out):
        raise ValueError(f"{out}: holds a run. Choose another --out")
    loaded = load(model, n_heads=n_heads)
    if loaded.config.window is not None:
        raise ValueError(f"{model}: has a sliding window, which transformers' GPT-2 does not support")
    own = None
    if tokenizer is not None or tokenizers.has_tokenizer(model):
        own = tokenizers.load(model, tokenizer)
        tokenizers.check_fits(own, loaded.config.vocab_size)
    save(loaded, out, dtype=DTYPES[dtype])
    if own is not None:
        tokenizers.save(own, out)
    write_model_card(out, loaded.config, has_tokenizer=own is not None)
    return out
