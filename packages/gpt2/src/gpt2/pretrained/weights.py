"""Load and save weights as Hugging Face folders (safetensors). `.pt` files are read by gpt2.pretrained.torch_files.

Hugging Face and OpenAI store projections (in, out), like this model.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gpt2._common.atomic import read_json_object, write_json, write_text
from gpt2._common.errors import check_choice, invalid, is_integer
from gpt2._common.run_folder import CONFIG, WEIGHTS
from gpt2._common.tensors import write_tensors
from gpt2.config import GPT2Config
from gpt2.model import GPT2

State = dict[str, Tensor]
INDEX, GENERATION_CONFIG = "model.safetensors.index.json", "generation_config.json"
NOT_WEIGHTS = re.compile(r"\.attn\.(bias|masked_bias)$")  # the causal mask, which old files keep as a buffer
ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
# settings of a Hugging Face config that this model does not implement, with the value that disables them
UNSUPPORTED = {"scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False, "scale_attn_weights": True}
REQUIRED = {"vocab_size": "vocab_size", "context_length": "n_positions", "d_model": "n_embd"} | {
    "n_heads": "n_head",
    "n_layers": "n_layer",
}


def load(
    path: str | Path,
    *,
    n_heads: int | None = None,
    dropout: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> GPT2:
    """Load a model from a Hugging Face folder or a `.pt` file of nanoGPT or minGPT.

    n_heads: needed for a minGPT file, which does not store it. dropout: overrides that of the file.
    dtype: of the weights, whatever the dtype of the file; training needs float32.
    Raises: ValueError for a folder or file that is not such a model; the message names what is wrong.
    """
    path = Path(path)
    if path.is_dir():
        config, state = read_config(path / CONFIG), _read_folder(path)
    elif path.suffix in (".pt", ".pth") and path.exists():
        from gpt2.pretrained.torch_files import read_pt

        config, state = read_pt(path, n_heads)
    else:
        reason = "must be a model folder or a .pt file" if path.exists() else "not found. Is it a model folder?"
        raise ValueError(f"{path}: {reason}")
    state = {name.removeprefix("transformer."): t for name, t in state.items() if not NOT_WEIGHTS.search(name)}
    if dropout is not None:
        config = dataclasses.replace(config, dropout=dropout)
    head, embedding = state.get("lm_head.weight"), state.get("wte.weight")
    both = head is not None and embedding is not None and head.shape == embedding.shape
    if config.tie_embeddings and both and not torch.equal(head, embedding):  # type: ignore[arg-type]
        config = dataclasses.replace(config, tie_embeddings=False)  # as transformers does: both matrices are kept
    if config.tie_embeddings:
        if embedding is None and head is not None:  # safetensors.save_model keeps one name of shared tensors
            state["wte.weight"] = head
        state["lm_head.weight"] = state.get("wte.weight", torch.empty(0))
    with torch.device("meta"):
        model = GPT2(config)
    _check(path, model, state)
    state = {name: t.to(dtype) for name, t in state.items()}
    model.load_state_dict(state, assign=True)
    if config.tie_embeddings:
        model.lm_head.weight = model.wte.weight  # assign made two parameters of it
    return model.requires_grad_(True).eval()


def _check(path: Path, model: GPT2, state: State) -> None:
    """Raise ValueError unless `state` has exactly the model's weights."""
    expected = model.state_dict()
    for complaint, names in (
        ("is missing", sorted(set(expected) - set(state))),
        ("is not part of GPT-2", sorted(set(state) - set(expected))),
    ):
        if names:
            raise ValueError(f"{path}: {names[0]} {complaint}" + (f" (and {len(names) - 1} more)" * (len(names) > 1)))
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            shapes = f"{tuple(expected[name].shape)} as in the config, got {tuple(tensor.shape)}"
            raise ValueError(f"{path}: {name} must have shape {shapes}")
        if not tensor.is_floating_point():
            raise ValueError(f"{path}: {name} must have a floating-point dtype, got {tensor.dtype}")


# ---------------------------------------------------------------------------------------- Hugging Face


def read_config(path: Path) -> GPT2Config:
    """Return the GPT2Config of Hugging Face's config.json.

    Raises: ValueError for a model that is not a GPT-2, and for a setting that this model does not implement.
    """
    if not path.exists():
        raise ValueError(f"{path}: not found. Is {path.parent} a model folder?")
    found = read_json_object(path)
    try:
        check_choice("model_type", found.get("model_type", "gpt2"), ["gpt2"])
        for key, harmless in UNSUPPORTED.items():
            if found.get(key, harmless) != harmless:
                raise invalid(key, f"be {harmless}", found[key])
        activation = found.get("activation_function", "gelu_new")
        check_choice("activation_function", activation, ACTIVATIONS)
        dropouts = [found.get(key, 0.1) for key in ("resid_pdrop", "embd_pdrop", "attn_pdrop")]
        if any(dropout != dropouts[0] for dropout in dropouts):
            raise invalid("resid_pdrop", "equal `embd_pdrop` and `attn_pdrop`: this model has one dropout", dropouts)
        for key in REQUIRED.values():
            if key not in found:
                raise ValueError(f"`{key}` is missing")
        return GPT2Config(
            **{ours: found[theirs] for ours, theirs in REQUIRED.items()},
            dropout=dropouts[0],
            d_ff=found.get("n_inner"),
            tie_embeddings=found.get("tie_word_embeddings", True),
            activation=ACTIVATIONS[activation],  # type: ignore[arg-type]
            layer_norm_eps=found.get("layer_norm_epsilon", 1e-5),
            window=found.get("window"),
            eos_id=_eos_id(found),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {_in_their_names(str(error))}") from None


def _eos_id(found: dict[str, Any]) -> int | None:
    """Return the end-of-text id, or None for a default id beyond a small vocabulary, which never occurs."""
    eos_id: Any = found.get("eos_token_id")
    vocab_size: Any = found["vocab_size"]
    if isinstance(eos_id, list) and eos_id:
        eos_id = eos_id[0]
    inside = is_integer(eos_id) and is_integer(vocab_size) and 0 <= eos_id < vocab_size
    return int(eos_id) if inside else None


def _in_their_names(message: str) -> str:
    for ours, theirs in REQUIRED.items():
        message = message.replace(f"`{ours}`", f"`{theirs}`")
    return message


def config_to_hf(config: GPT2Config) -> dict[str, Any]:
    """Return the content of Hugging Face's config.json."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_ctx": config.context_length,  # what converters such as llama.cpp's read
        "n_embd": config.d_model,
        "n_head": config.n_heads,
        "n_layer": config.n_layers,
        "n_inner": config.d_ff,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "activation_function": "gelu_new" if config.activation == "gelu_tanh" else "gelu",
        "layer_norm_epsilon": config.layer_norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": config.eos_id,
        "eos_token_id": config.eos_id,
    } | ({} if config.window is None else {"window": config.window})


def _read_folder(folder: Path) -> State:
    """Return all tensors of a Hugging Face folder, from one file or from the shards of an index."""
    if (folder / INDEX).exists():
        try:
            shards = sorted(set(read_json_object(folder / INDEX)["weight_map"].values()))
        except (KeyError, AttributeError, TypeError):
            raise ValueError(f"{folder / INDEX}: not an index of shards") from None
        if any(not isinstance(s, str) or Path(s).name != s for s in shards):
            raise ValueError(f"{folder / INDEX}: names a shard outside its folder")
    elif (folder / WEIGHTS).exists():
        shards = [WEIGHTS]
    else:
        pickled = ". pytorch_model.bin is a pickle, which can run code: convert it to safetensors"
        raise ValueError(f"{folder / WEIGHTS}: not found" + pickled * (folder / "pytorch_model.bin").exists())
    state: State = {}
    for shard in shards:
        try:
            with safe_open(folder / shard, framework="pt") as file:
                state |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        except FileNotFoundError:
            raise ValueError(f"{folder / shard}: not found, but the index names it") from None
        except SafetensorError as error:
            raise ValueError(f"{folder / shard}: not a valid safetensors file ({error})") from None
    return state


def save(
    model: GPT2,
    folder: str | Path,
    *,
    shard_bytes: int | None = None,
    dtype: torch.dtype | None = None,
    state: State | None = None,
) -> None:
    """Write `config.json` and `model.safetensors` as Hugging Face has them.

    shard_bytes: maximum size of a file; one file by default. dtype: of the written weights; by default the model's.
    state: the weights, if they are not the model's own (gathered from several processes).
    Files are written atomically, the weights first. transformers ignores `window`: it would load such a model and
    attend to everything.
    """
    folder = Path(folder)
    prefix = {name: name if name.startswith("lm_head") else f"transformer.{name}" for name in model.state_dict()}
    state = {prefix[name]: t.detach().to("cpu", dtype) for name, t in (state or model.state_dict()).items()}
    if model.config.tie_embeddings:
        del state["lm_head.weight"]
    for name, tensor in state.items() if dtype is not None else ():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} has NaN or infinite weights in {tensor.dtype}. Use float32")
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[State] = [{}]
    for name, tensor in state.items():
        if shard_bytes and shards[-1] and sum(t.nbytes for t in [*shards[-1].values(), tensor]) > shard_bytes:
            shards.append({})
        shards[-1][name] = tensor
    names = [WEIGHTS]
    if len(shards) > 1:
        names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        write_tensors(folder / name, shard, {"format": "pt"})
    if len(shards) > 1:
        weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        index = {"metadata": {"total_size": sum(t.nbytes for t in state.values())}, "weight_map": weight_map}
        write_json(folder / INDEX, index)
        (folder / WEIGHTS).unlink(missing_ok=True)
    else:
        (folder / INDEX).unlink(missing_ok=True)
    write_config(model.config, folder)


def write_config(config: GPT2Config, folder: Path) -> None:
    """Write `config.json` and `generation_config.json` as Hugging Face has them."""
    write_json(folder / CONFIG, config_to_hf(config))
    ids = {} if config.eos_id is None else {"bos_token_id": config.eos_id, "eos_token_id": config.eos_id}
    write_json(folder / GENERATION_CONFIG, {"do_sample": True, **ids})


def write_model_card(folder: Path, config: GPT2Config, *, has_tokenizer: bool) -> None:
    """Write the README.md of a model folder, as Hugging Face's hub shows it."""
    also, names = (
        (", AutoTokenizer", ['tokenizer = AutoTokenizer.from_pretrained("FOLDER")']) if has_tokenizer else ("", [])
    )
    lines = [
        *(
            "---",
            "library_name: transformers",
            "pipeline_tag: text-generation",
            "tags: [gpt2]",
            "---",
            "",
            "# GPT-2",
            "",
        ),
        f"{config.n_layers} layers, {config.n_heads} heads, width {config.d_model}, context of {config.context_length} "
        f"tokens, vocabulary of {config.vocab_size} tokens. FOLDER is the path of this folder.",
        *("", "```python", f"from transformers import AutoModelForCausalLM{also}", ""),
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")',
        *names,
        *("```", ""),
    ]
    write_text(folder / "README.md", "\n".join(lines))
