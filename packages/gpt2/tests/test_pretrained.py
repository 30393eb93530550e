import json

import pytest
import torch
from gpt2 import GPT2
from gpt2.pretrained.weights import load, save
from helpers_models import SMALL, hugging_face_twin, random_ids, run, small_model
from safetensors.torch import load_file, save_file


def test_saved_models_load_unchanged(tmp_path):
    model = small_model(torch.float32, tie_embeddings=False, activation="gelu", d_ff=50, window=7, eos_id=60)
    model.save_pretrained(tmp_path)
    again = GPT2.from_pretrained(tmp_path)
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_loaded_tied_head_stays_tied_and_trains(tmp_path):
    small_model(torch.float32).save_pretrained(tmp_path)
    model = GPT2.from_pretrained(tmp_path, dropout=0.3)
    assert model.lm_head.weight is model.wte.weight
    assert model.config.dropout == 0.3
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_and_this_package_read_each_others_folders(tmp_path, tied):
    model = small_model(torch.float32, tie_embeddings=tied)
    twin = hugging_face_twin(model, tmp_path / "ours")
    twin.save_pretrained(tmp_path / "theirs")
    again = GPT2.from_pretrained(tmp_path / "theirs")
    ids = random_ids(model, 2, 9)
    assert torch.equal(again(ids), model(ids))
    assert (twin(ids).logits - model(ids)).abs().max() < 1e-5


def test_shards(tmp_path):
    model = small_model(torch.float32)
    save(model, tmp_path, shard_bytes=20_000)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    ids = random_ids(model, 2, 9)
    assert torch.equal(load(tmp_path)(ids), model(ids))
    theirs = hugging_face_twin(model, tmp_path / "whole")
    import transformers

    sharded = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert torch.equal(sharded(ids).logits, theirs(ids).logits)
    shards[1].unlink()
    with pytest.raises(ValueError, match=r"model-00002.*not found"):
        load(tmp_path)


def old_style(folder):
    """The folder as old versions of transformers wrote it: no prefix, the causal mask as a buffer, a head."""
    state = load_file(folder / "model.safetensors")
    state = {name.removeprefix("transformer."): t for name, t in state.items()}
    state["h.0.attn.bias"] = torch.ones(1, 1, 24, 24).tril()
    state["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    state["lm_head.weight"] = state["wte.weight"].clone()
    save_file(state, folder / "model.safetensors")


def test_old_names_and_buffers_are_read(tmp_path):
    model = small_model(torch.float32)
    model.save_pretrained(tmp_path)
    old_style(tmp_path)
    ids = random_ids(model, 2, 9)
    assert torch.equal(load(tmp_path)(ids), model(ids))


def nanogpt_checkpoint(model, path, bias=True):
    """nanoGPT's ckpt.pt: projections (out, in), arguments beside the weights, names under `_orig_mod`."""
    projection = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    state = {
        f"_orig_mod.{'' if name == 'lm_head.weight' else 'transformer.'}{name}": t.T.clone()
        if name.endswith(projection)
        else t
        for name, t in model.state_dict().items()
        if bias or not name.endswith("bias")
    }
    arguments = {
        "n_layer": 3,
        "n_head": 4,
        "n_embd": 32,
        "block_size": 24,
        "bias": bias,
        "vocab_size": 61,
        "dropout": 0.0,
    }
    torch.save({"model": state, "model_args": arguments, "iter_num": 7, "best_val_loss": torch.tensor(1.0)}, path)


@pytest.mark.parametrize("bias", [True, False])
def test_nanogpt_checkpoints(tmp_path, bias):
    model = small_model(torch.float32, activation="gelu")  # the exact one, as nanoGPT has it
    if not bias:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.mul_(0 if name.endswith("bias") else 1)
    nanogpt_checkpoint(model, tmp_path / "ckpt.pt", bias)
    again = GPT2.from_pretrained(tmp_path / "ckpt.pt")
    assert again.config == model.config
    ids = random_ids(model, 2, 9)
    assert torch.equal(again(ids), model(ids))


def test_mingpt_state_dictionaries_need_the_number_of_heads(tmp_path):
    model = small_model(torch.float32, tie_embeddings=False)
    nanogpt_checkpoint(model, tmp_path / "ckpt.pt")
    state = torch.load(tmp_path / "ckpt.pt", weights_only=True)["model"]
    torch.save({name.removeprefix("_orig_mod."): t for name, t in state.items()}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="n_heads"):
        load(tmp_path / "model.pt")
    again = load(tmp_path / "model.pt", n_heads=SMALL["n_heads"])
    ids = random_ids(model, 2, 9)
    assert torch.equal(again(ids), model(ids))


class Malicious:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_pickles_are_not_run(tmp_path, capsys):
    torch.save({"model": Malicious()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="without running code"):
        load(tmp_path / "evil.pt")
    assert capsys.readouterr().out == ""


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    config.update(changes)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v != "gone"}))


def drop_a_weight(folder):
    state = load_file(folder / "model.safetensors")
    del state["transformer.h.1.mlp.c_fc.bias"]
    save_file(state, folder / "model.safetensors")


def add_a_weight(folder):
    state = load_file(folder / "model.safetensors")
    save_file({**state, "transformer.extra": torch.ones(1)}, folder / "model.safetensors")


def truncate(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])


def only_a_pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (drop_a_weight, r"h\.1\.mlp\.c_fc\.bias is missing"),
        (add_a_weight, "extra is not part"),
        (truncate, "not a valid safetensors file"),
        (only_a_pickle, "pickle"),
        (lambda f: (f / "config.json").write_text("{"), "not a valid JSON file"),
        (lambda f: (f / "config.json").unlink(), r"config\.json: not found"),
        (lambda f: edit(f, n_embd=64), "must have shape .* as in the config"),
        (lambda f: edit(f, n_embd=33), "`n_head` must divide `n_embd` = 33"),
        (lambda f: edit(f, n_layer="gone"), "`n_layer` is missing"),
        (lambda f: edit(f, model_type="llama"), "llama"),
        (lambda f: edit(f, activation_function="relu"), "relu"),
        (lambda f: edit(f, scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse_layer_idx"),
        (lambda f: edit(f, attn_pdrop=0.5), "dropout"),
    ],
)
def test_the_fault_of_a_folder_is_named(tmp_path, damage, complaint):
    small_model(torch.float32).save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=complaint):
        load(tmp_path)


def test_a_missing_model_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"not found\. Is it a model folder"):
        load(tmp_path / "nothing")
    (tmp_path / "x.pt").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="not a checkpoint"):
        load(tmp_path / "x.pt")


def test_run_folders_and_exports_are_complete_hugging_face_folders(tmp_path):
    import transformers

    (tmp_path / "a.txt").write_text("the cat sat on the mat. " * 60)
    assert run("prepare", tmp_path / "a.txt", "--out", tmp_path / "data").returncode == 0
    shape = ["--d-model", 16, "--n-heads", 2, "--n-layers", 1, "--context-length", 32]
    train = ["train", tmp_path / "data", "--steps", 2, "--dtype", "float32", *shape]
    assert run(*train, "--out", tmp_path / "run").returncode == 0
    assert run("export", tmp_path / "run", "--out", tmp_path / "hf", "--dtype", "float16").returncode == 0
    writing = ["--prompt", "the c", "--max-new-tokens", 9, "--temperature", 0]
    for folder, dtype in ((tmp_path / "run", torch.float32), (tmp_path / "hf", torch.float16)):
        names = {p.name for p in folder.iterdir()}
        assert names >= {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"}
        assert {t.dtype for t in load_file(folder / "model.safetensors").values()} == {dtype}
        assert json.loads((folder / "config.json").read_text())["n_ctx"] == 32
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        ids = tokenizer("the c", return_tensors="pt")
        out = model.generate(**ids, max_new_tokens=9, do_sample=False, pad_token_id=256)
        assert run("generate", folder, *writing).stdout == tokenizer.decode(out[0], skip_special_tokens=True) + "\n"
