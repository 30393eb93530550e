"""The same numbers as transformers, and as published activations and recorded files."""

import base64
import itertools
import json

import numpy as np
import pytest
import torch
from gpt2 import GPT2, GPT2Config
from gpt2.config import OptimConfig, TrainConfig
from gpt2.evaluation.perplexity import token_losses
from gpt2.training.trainer import Trainer
from helpers_models import Data, hugging_face_twin, random_ids, small_model
from torch.nn.functional import cross_entropy


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    model = small_model()
    return model, hugging_face_twin(model, tmp_path_factory.mktemp("hf"))


def test_logits_hidden_states_and_attentions_equal_transformers(twins):
    model, twin = twins
    ids = random_ids(model, 3, 20)
    logits, aux = model(ids, return_intermediates=True)
    theirs = twin(ids, output_hidden_states=True, output_attentions=True)
    assert aux["attn"].shape == (3, 3, 4, 20, 20)
    assert aux["resid"].shape == (4, 3, 20, 32)
    assert (logits - theirs.logits).abs().max() < 1e-10
    assert (model(ids) - theirs.logits).abs().max() < 1e-10  # by the fused kernel
    assert (aux["attn"] - torch.stack(theirs.attentions)).abs().max() < 1e-10
    ours = [*aux["resid"][:-1], model.ln_f(aux["resid"][-1])]  # theirs has the last LayerNorm in the last state
    assert max((a - b).abs().max() for a, b in zip(ours, theirs.hidden_states, strict=True)) < 1e-10
    assert torch.equal(model.logit_lens(aux["resid"][-1]), logits)


def test_loss_and_all_gradients_equal_transformers(twins):
    model, twin = twins
    ids = random_ids(model, 3, 21)
    targets = ids[:, 1:].clone()
    targets[0, :7] = -100
    model.zero_grad()
    twin.zero_grad()
    loss = model.loss(ids[:, :-1], targets)
    loss.backward()
    theirs = cross_entropy(twin(ids[:, :-1]).logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
    theirs.backward()
    gradients = dict(twin.transformer.named_parameters())
    assert abs(loss - theirs) < 1e-10
    compared = [(p.grad - gradients[name].grad).abs().max() for name, p in model.named_parameters()]
    assert len(compared) == len(gradients)
    assert max(compared) < 1e-10


def test_ten_adamw_steps_have_equal_losses(tmp_path):
    model = small_model(seed=3)
    twin = hugging_face_twin(model, tmp_path)
    ids = random_ids(model, 4, 17)
    curves = []
    for network in (model, twin):
        network.train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
        curves.append([])
        for _ in range(10):
            if network is model:
                loss = network.loss(ids[:, :-1], ids[:, 1:])
            else:
                loss = cross_entropy(network(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curves[-1].append(loss.item())
    assert curves[0][-1] < curves[0][0]
    assert np.abs(np.subtract(*curves)).max() < 1e-9


def test_greedy_continuations_equal_transformers(twins):
    model, twin = twins
    ids = random_ids(model, 4, 6)
    theirs = twin.generate(ids, max_new_tokens=18, do_sample=False, pad_token_id=0)
    assert torch.equal(model.generate(ids, 18, temperature=0.0), theirs)


@pytest.mark.parametrize("size", ["124M", "355M", "774M", "1558M"])
def test_the_four_sizes_have_their_published_parameter_counts(size):
    counts = {"124M": 124_439_808, "355M": 354_823_168, "774M": 774_030_080, "1558M": 1_557_611_200}
    with torch.device("meta"):
        assert GPT2(GPT2Config.named(size)).num_parameters() == counts[size]


def test_the_initial_scale_is_that_of_section_2_3():
    torch.manual_seed(0)
    model = GPT2(GPT2Config(vocab_size=500, context_length=64, d_model=128, n_heads=4, n_layers=8))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            scale = 0.02 / 4 if "c_proj" in name else 0.02  # sqrt(2 * 8) = 4
            assert parameter.std().item() == pytest.approx(scale, rel=0.05), name
        elif name.endswith("bias"):
            assert parameter.abs().max() == 0
    assert model.lm_head.weight is model.wte.weight


@pytest.fixture
def recorded(golden_file):
    found = np.load(golden_file("gpt2_tiny_hf_a.npz"), allow_pickle=False)
    weights = {k.removeprefix("w/transformer."): torch.tensor(found[k]) for k in found.files if k.startswith("w/")}
    model = GPT2(GPT2Config(97, 32, d_model=32, n_heads=4, n_layers=2, dropout=0.0))
    model.load_state_dict({**weights, "lm_head.weight": weights["wte.weight"]})
    return model.eval(), found


def test_the_recorded_model(recorded):
    model, found = recorded
    x, y = torch.tensor(found["x"]), torch.tensor(found["y"])
    logits, aux = model(x, return_intermediates=True)
    loss = model.loss(x, y)
    loss.backward()
    pairs = [(logits, "logits"), (loss, "loss"), (aux["resid"][1], "hidden/1"), (aux["attn"][1], "attn/1")]
    pairs += [(p.grad, f"g/transformer.{name}") for name, p in model.named_parameters()]
    for ours, name in pairs:
        assert np.abs(ours.detach().numpy() - found[name]).max() < 1e-5, name
    greedy = torch.tensor(found["greedy"])
    start = next(n for n in range(1, 28) if not torch.equal(greedy[:, : n + 1], x[:, : n + 1]))
    assert torch.equal(model.generate(greedy[:, :start], 28 - start, temperature=0.0), greedy)


def test_the_recorded_training(recorded, tmp_path):
    model, found = recorded
    optim = OptimConfig(lr=1e-3, warmup_steps=0, schedule="constant", weight_decay=0.1, grad_clip=1.0)
    trainer = Trainer(model, Data(), TrainConfig(optim=optim, dtype="float32", micro_batch=1, batch_size=3), tmp_path)
    x, y = torch.tensor(found["x"]), torch.tensor(found["y"])
    ours = [trainer.step(x, y, lr=1e-3) for _ in range(10)]  # in micro-batches of one, for good measure
    assert np.abs(np.array(ours) - found["train_losses_gradnorms"]).max() < 1e-4


@pytest.fixture
def sorter(data_file):
    """minGPT's published gpt-nano that sorts six letters, and its published activations."""

    def tensor(entry):
        values = np.frombuffer(base64.b64decode(entry["data"]), dtype="<f4").reshape(entry["shape"])
        return torch.from_numpy(values.copy())

    published = json.loads(data_file("models/gpt-nano-sort-model.json").read_text())
    weights = {k.removeprefix("transformer."): tensor(v) for k, v in published.items() if k != "config"}
    # minGPT's layout is (out, in)
    weights = {
        k: v.T if k.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else v for k, v in weights.items()
    }
    model = GPT2(GPT2Config(3, 11, d_model=48, n_heads=3, n_layers=3, dropout=0.0, tie_embeddings=False))
    model.load_state_dict({k: weights[k] for k in model.state_dict()})
    partials = json.loads(data_file("models/gpt-nano-sort-t0-partials.json").read_text())
    return model.eval(), {k: tensor(v) for k, v in partials.items() if isinstance(v, dict) and "data" in v}


def test_the_published_sorter_stage_by_stage(sorter):
    model, published = sorter
    seen = {}

    def keep(name, module, before=False):
        if before:
            module.register_forward_pre_hook(lambda _, x: seen.__setitem__(name, x[0]))
        else:
            module.register_forward_hook(lambda _, __, y: seen.__setitem__(name, y))

    first = model.h[0]
    stages = {"ln1": first.ln_1, "qkv": first.attn.c_attn, "yProj": first.attn.c_proj, "ln2": first.ln_2}
    stages |= {"fc": first.mlp.c_fc, "mlp": first.mlp.c_proj, "ln_f": model.ln_f, "lm_head": model.lm_head}
    for name, module in stages.items():
        keep(name, module)
    keep("y", first.attn.c_proj, before=True)
    keep("gelu", first.mlp.c_proj, before=True)
    for number, block in enumerate(model.h):
        keep(f"block{number}", block)
    seen["attSm"] = model(published["idx"].long(), return_intermediates=True)[1]["attn"][0]
    assert len(seen) == 14
    for name, ours in seen.items():
        assert (ours - published[name]).abs().max() < 1e-5, name


def test_the_published_sorter_sorts_all_729(sorter):
    model, _ = sorter
    letters = torch.tensor(list(itertools.product(range(3), repeat=6)))
    out = model.generate(letters, 6, temperature=0.0)
    assert torch.equal(out[:, 6:], letters.sort(dim=1).values)


def test_the_trained_character_model(data_file, golden_file, tmp_path):
    expected = json.loads(golden_file("gpt2_char_expected.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(expected["config"]))
    (tmp_path / "model.safetensors").symlink_to(data_file("models/gpt2_char_tinyshakespeare_hf.safetensors"))
    model = GPT2.from_pretrained(tmp_path)
    ids = {c: i for i, c in enumerate(expected["chars"])}
    for case in expected["greedy"]:
        prompt = torch.tensor([[ids[c] for c in case["prompt"]]])
        new = 64 - prompt.shape[1]
        text = "".join(expected["chars"][i] for i in model.generate(prompt, new, temperature=0.0)[0])
        assert text == case["text"]
    text = data_file("text/tinyshakespeare.txt").read_text()
    held_out = torch.tensor([ids[c] for c in text[int(0.9 * len(text)) :]])
    windows = (len(held_out) - 1) // 64
    rows = [held_out[i * 64 : i * 64 + 65] for i in range(windows)]
    batch = torch.stack(rows)
    with torch.no_grad():
        losses = [model.loss(part[:, :-1], part[:, 1:], reduction="sum") for part in batch.split(256)]
    assert float(sum(losses)) / (windows * 64) == pytest.approx(1.89307, abs=1e-5)
    strided = token_losses(model, held_out[: 64 * 20 + 1], stride=64)  # the same windows, by the evaluation's code
    with torch.no_grad():
        assert float(strided.mean()) == pytest.approx(float(model.loss(batch[:20, :-1], batch[:20, 1:])), abs=1e-5)
