# Vendored: edit shared/vendored/tensors.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""Read and write safetensors files, with one clear error for each file that does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from .atomic import atomic_write


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file atomically."""
    from safetensors.torch import save_file

    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(content, temporary, metadata)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises: ValueError that names the file if it is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"{path}: not found. Is {path.parent} a run folder?")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a valid safetensors file ({error})") from None


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], where: Path) -> None:
    """Copy weights into a model.

    Raises: ValueError that names the first tensor that is missing, unknown, or of another shape. The model is then
    unchanged.
    """
    expected = model.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights:
            raise ValueError(f"{where}: tensor {name} is missing")
        if name not in expected:
            raise ValueError(f"{where}: tensor {name} is not part of this model")
        if weights[name].shape != expected[name].shape:
            shapes = f"{tuple(expected[name].shape)}, got {tuple(weights[name].shape)}"
            raise ValueError(f"{where}: tensor {name} must have shape {shapes}")
    model.load_state_dict(weights)
