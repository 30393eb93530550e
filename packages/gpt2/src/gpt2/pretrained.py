"""Weights in and out: Hugging Face folders (safetensors), nanoGPT and minGPT `.pt` files. Never a pickle unguarded.

Hugging Face and OpenAI keep projections (in, out), as this model does; nanoGPT and minGPT (out, in).
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gpt2.model import GPT2, GPT2Config

State = dict[str, Tensor]
WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
PROJECTION = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")
NOT_WEIGHTS = re.compile(r"\.attn\.(bias|masked_bias)$")  # the causal mask, which old files keep as a buffer
ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
# what a Hugging Face config may say that this model does not do, and the value that asks for nothing
NOT_DONE = {"scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False, "scale_attn_weights": True}


def load(path: str | Path, *, n_heads: int | None = None, dropout: float | None = None) -> GPT2:
    """A model from a Hugging Face folder or a `.pt` file of nanoGPT or minGPT.

    `n_heads` is needed for a minGPT file, which does not tell it. `dropout` overrides the file's.
    ValueError for a folder or file that is not such a model; the message names what is wrong.
    """
    path = Path(path)
    if path.is_dir():
        config, state = read_config(path / CONFIG), _read_folder(path)
    elif path.suffix in (".pt", ".pth") and path.exists():
        config, state = _read_pt(path, n_heads)
    else:
        raise ValueError(f"{path}: neither a folder with {CONFIG} and {WEIGHTS} nor a .pt file")
    state = {name.removeprefix("transformer."): t for name, t in state.items() if not NOT_WEIGHTS.search(name)}
    if dropout is not None:
        config = dataclasses.replace(config, dropout=dropout)
    with torch.device("meta"):
        model = GPT2(config)
    if config.tied:
        state["lm_head.weight"] = state.get("wte.weight", torch.empty(0))
    _check(path, model, state)
    model.load_state_dict(state, assign=True)
    if config.tied:
        model.lm_head.weight = model.wte.weight  # assign made two parameters of it
    return model.requires_grad_(True).eval()


def _check(path: Path, model: GPT2, state: State) -> None:
    """ValueError unless `state` has exactly the model's weights."""
    wanted = model.state_dict()
    for complaint, names in (
        ("is missing", sorted(set(wanted) - set(state))),
        ("is not part of GPT-2", sorted(set(state) - set(wanted))),
    ):
        if names:
            raise ValueError(f"{path}: {names[0]} {complaint}" + (f" (and {len(names) - 1} more)" * (len(names) > 1)))
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            found, expected = tuple(tensor.shape), tuple(wanted[name].shape)
            raise ValueError(f"{path}: {name} has shape {found}; the config asks for {expected}")
        if not tensor.is_floating_point():
            raise ValueError(f"{path}: {name} has dtype {tensor.dtype}, which is not floating point")


# ---------------------------------------------------------------------------------------- Hugging Face


def read_config(path: Path) -> GPT2Config:
    """A GPT2Config from Hugging Face's config.json; ValueError for a model that is no GPT-2."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent}: holds no {path.name}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict) or found.get("model_type", "gpt2") != "gpt2":
        raise ValueError(f"{path}: model_type is {found.get('model_type')!r}, not 'gpt2'")
    for key, harmless in NOT_DONE.items():
        if found.get(key, harmless) != harmless:
            raise ValueError(f"{path}: {key} is {found[key]}, which this model does not do")
    activation = found.get("activation_function", "gelu_new")
    if activation not in ACTIVATIONS:
        raise ValueError(f"{path}: activation_function is {activation!r}, not one of {', '.join(ACTIVATIONS)}")
    dropouts = {found.get(key, 0.1) for key in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
    if len(dropouts) > 1:
        raise ValueError(f"{path}: three different dropouts, where this model has one")
    try:
        return GPT2Config(
            vocab_size=found["vocab_size"],
            context_length=found["n_positions"],
            d_model=found["n_embd"],
            n_heads=found["n_head"],
            n_layers=found["n_layer"],
            dropout=dropouts.pop(),
            d_ff=found.get("n_inner"),
            tied=found.get("tie_word_embeddings", True),
            activation=ACTIVATIONS[activation],  # type: ignore[arg-type]
            norm_eps=found.get("layer_norm_epsilon", 1e-5),
            window=found.get("window"),
            eos_id=found.get("eos_token_id"),
        )
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]} is missing") from None


def config_to_hf(config: GPT2Config) -> dict[str, Any]:
    """What config.json says of a model."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.d_model,
        "n_head": config.n_heads,
        "n_layer": config.n_layers,
        "n_inner": config.d_ff,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "activation_function": "gelu_new" if config.activation == "gelu_tanh" else "gelu",
        "layer_norm_epsilon": config.norm_eps,
        "tie_word_embeddings": config.tied,
        "bos_token_id": config.eos_id,
        "eos_token_id": config.eos_id,
    } | ({} if config.window is None else {"window": config.window})


def _read_folder(folder: Path) -> State:
    """All tensors of a Hugging Face folder, from one file or from the shards of an index."""
    if (folder / INDEX).exists():
        try:
            shards = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        except (json.JSONDecodeError, KeyError, AttributeError):
            raise ValueError(f"{folder / INDEX}: not an index of shards") from None
        if any(Path(s).name != s for s in shards):
            raise ValueError(f"{folder / INDEX}: names a shard outside of its folder")
    elif (folder / WEIGHTS).exists():
        shards = [WEIGHTS]
    else:
        pickled = " (pytorch_model.bin is a pickle, which can run code: save it as safetensors)"
        raise ValueError(f"{folder}: holds no {WEIGHTS}" + pickled * (folder / "pytorch_model.bin").exists())
    state: State = {}
    for shard in shards:
        try:
            with safe_open(folder / shard, framework="pt") as file:
                state |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        except FileNotFoundError:
            raise ValueError(f"{folder / shard}: is named in the index, but is not there") from None
        except SafetensorError as error:
            raise ValueError(f"{folder / shard}: truncated, or not safetensors ({error})") from None
    return state


def save(model: GPT2, folder: str | Path, *, shard_bytes: int | None = None, state: State | None = None) -> None:
    """Write `config.json` and `model.safetensors` (in shards of at most `shard_bytes`) as Hugging Face has them.

    Each file is written beside its place and renamed, the weights first: an interrupted call leaves no half file.
    transformers does not know `window`: it would load such a model and attend to everything.
    `state`: the weights, where they are not the model's own (gathered from several processes).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    prefix = {name: name if name.startswith("lm_head") else f"transformer.{name}" for name in model.state_dict()}
    state = {prefix[name]: t.detach().cpu().contiguous() for name, t in (state or model.state_dict()).items()}
    if model.config.tied:
        del state["lm_head.weight"]
    shards: list[State] = [{}]
    for name, tensor in state.items():
        if shard_bytes and shards[-1] and sum(t.nbytes for t in [*shards[-1].values(), tensor]) > shard_bytes:
            shards.append({})
        shards[-1][name] = tensor
    names = [WEIGHTS]
    if len(shards) > 1:
        names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        write_atomically(folder / name, lambda path, shard=shard: save_file(shard, path, {"format": "pt"}))  # type: ignore[misc]
    if len(shards) > 1:
        weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        index = {"metadata": {"total_size": sum(t.nbytes for t in state.values())}, "weight_map": weight_map}
        write_json(folder / INDEX, index)
        (folder / WEIGHTS).unlink(missing_ok=True)
    else:
        (folder / INDEX).unlink(missing_ok=True)
    write_json(folder / CONFIG, config_to_hf(model.config))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """`write` to a temporary name beside `path`, then rename: what is at `path` is always whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    for left in path.parent.glob(f".{path.name}.*.part"):  # by a process that was killed
        left.unlink()
    try:
        write(temporary)
        temporary.replace(path)
    except SafetensorError as error:  # what it raises for a full disk
        raise OSError(f"{path}: cannot be written ({error})") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically."""
    text = json.dumps(value, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


# ------------------------------------------------------------------------------------- nanoGPT, minGPT


def _read_pt(path: Path, n_heads: int | None) -> tuple[GPT2Config, State]:
    """A checkpoint of nanoGPT ({"model", "model_args", ...}) or a state dictionary of minGPT."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch.load raises many types for files that are no checkpoints
        raise ValueError(f"{path}: not a checkpoint that can be read without running code ({_short(error)})") from None
    arguments = found.get("model_args", {}) if isinstance(found, dict) else {}
    state = found["model"] if isinstance(found, dict) and isinstance(found.get("model"), dict) else found
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ValueError(f"{path}: holds no state dictionary of a model")
    # torch.compile and DistributedDataParallel leave prefixes
    state = {re.sub(r"^(_orig_mod\.|module\.|transformer\.)*", "", name): t for name, t in state.items()}
    state = {name: t for name, t in state.items() if not NOT_WEIGHTS.search(name)}
    try:
        (vocab_size, d_model), context_length = state["wte.weight"].shape, state["wpe.weight"].shape[0]
        d_ff = state["h.0.mlp.c_fc.weight"].shape[0]
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]} is missing") from None
    n_heads = n_heads or arguments.get("n_head")
    if n_heads is None:
        raise ValueError(f"{path}: does not tell the number of heads; give n_heads")
    head = state.get("lm_head.weight", state["wte.weight"])
    config = GPT2Config(
        vocab_size=vocab_size,
        context_length=context_length,
        d_model=d_model,
        n_heads=n_heads,
        n_layers=len({name.split(".")[1] for name in state if name.startswith("h.")}),
        dropout=arguments.get("dropout", 0.0),
        d_ff=None if d_ff == 4 * d_model else d_ff,
        tied=torch.equal(head, state["wte.weight"]),
        # nanoGPT's checkpoints name their arguments, and its GELU is the exact one; minGPT's is GPT-2's
        activation="gelu" if arguments else "gelu_tanh",
    )
    state = {name: t.T.contiguous() if PROJECTION.search(name) else t for name, t in state.items()}
    for name in [n for n in state if n.endswith(".weight") and re.search(r"ln_|c_", n)]:
        bias = name.removesuffix("weight") + "bias"  # nanoGPT can leave biases out, which is a bias of zero
        state.setdefault(bias, torch.zeros(state[name].shape[-1]))
    return config, state


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:160]
