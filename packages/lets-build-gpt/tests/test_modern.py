"""The modern parts against transformers' models (Llama, Qwen3, Gemma 2) and torch, in float64, forward and backward."""

import cmath
import itertools
import math
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from lets_build_gpt import Model, ModelConfig, MultiHeadAttention
from lets_build_gpt.attention import PastMean
from lets_build_gpt.cache import KVCache
from lets_build_gpt.modern import EPS, ROPE_BASE, Mix, RMSNorm, RotaryEmbedding, SwiGLU, soft_cap
from torch import nn

LLAMA = {"positions": "rope", "norm_type": "rms", "activation": "swiglu", "bias": False, "dropout": 0.0}
ALL_PARTS = {**LLAMA, "qk_norm": True, "value_embeddings": True, "x0_skip": True, "zero_init": True, "logit_cap": 15.0}
quick = settings(max_examples=30)
seeds = st.integers(0, 2**31)


@pytest.fixture(autouse=True)
def float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def relative(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


def perturbed(module, seed, scale=0.3):
    """Move every parameter away from its initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return module


def hugging_face(model, kind):
    """Return a model of transformers with the weights of ours, and the pairs of equal parameters.

    Our queries, keys and values are one matrix: three of theirs for one of ours. Their RMSNorm and their eager softmax
    compute in float32 in every model, so the norms are replaced by PyTorch's, and attention is PyTorch's.
    """
    import transformers

    ours = model.config
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=ours.vocab_size,
        hidden_size=ours.d_model,
        intermediate_size=model.blocks[0].ffn.proj_up.out_features,
        num_hidden_layers=ours.n_layers,
        num_attention_heads=ours.n_heads,
        num_key_value_heads=ours.n_heads,
        head_dim=ours.d_model // ours.n_heads,
        max_position_embeddings=ours.context_length,
        rms_norm_eps=EPS,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
        tie_word_embeddings=ours.tie_embeddings,
        attention_bias=False,
        attn_implementation="sdpa",
    )
    theirs = getattr(transformers, f"{kind}ForCausalLM")(config).to(torch.float64).eval()
    for name, module in list(theirs.named_modules()):
        if type(module).__name__ == f"{kind}RMSNorm":
            theirs.set_submodule(name, nn.RMSNorm(module.weight.shape[0], eps=EPS))
    pairs = {
        theirs.model.embed_tokens.weight: model.token_embedding.weight,
        theirs.model.norm.weight: model.norm.weight,
    }
    if not ours.tie_embeddings:
        pairs[theirs.lm_head.weight] = model.head.weight
    joined = {}
    for layer, block in zip(theirs.model.layers, model.blocks, strict=True):
        pairs |= {
            layer.self_attn.o_proj.weight: block.self_attn.projection.weight,
            layer.mlp.gate_proj.weight: block.ffn.proj_gate.weight,
            layer.mlp.up_proj.weight: block.ffn.proj_up.weight,
            layer.mlp.down_proj.weight: block.ffn.proj_down.weight,
            layer.input_layernorm.weight: block.norm1.weight,
            layer.post_attention_layernorm.weight: block.norm2.weight,
        }
        if kind == "Qwen3":
            pairs |= {
                layer.self_attn.q_norm.weight: block.self_attn.q_norm.weight,
                layer.self_attn.k_norm.weight: block.self_attn.k_norm.weight,
            }
        joined[block.self_attn.qkv.weight] = [getattr(layer.self_attn, f"{n}_proj").weight for n in "qkv"]
    with torch.no_grad():
        for a, b in pairs.items():
            a.copy_(b)
        for one, three in joined.items():
            for part, target in zip(one.split(ours.d_model), three, strict=True):
                target.copy_(part)
    assert len(pairs) + 3 * len(joined) == len(list(theirs.parameters()))
    return theirs, pairs, joined


@pytest.mark.parametrize("kind", ["Llama", "Qwen3"])
@pytest.mark.parametrize(
    ("seed", "d_model", "h", "n_layers", "time", "more"),
    [(0, 24, 3, 3, 9, {}), (1, 16, 1, 1, 1, {"d_ff": 5}), (2, 40, 4, 2, 33, {"tie_embeddings": True})],
)
def test_logits_and_all_gradients_equal_those_of_transformers(kind, seed, d_model, h, n_layers, time, more):
    torch.manual_seed(seed)
    options = {**LLAMA, **more, "qk_norm": kind == "Qwen3"}
    model = perturbed(Model(time + 3, d_model, h, n_layers, 11, **options), seed)
    theirs, pairs, joined = hugging_face(model, kind)
    ids, targets = torch.randint(11, (2, 3, time))
    logits = theirs(ids).logits
    F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    model.loss(ids, targets).backward()
    assert relative(model(ids), logits) < 1e-10
    joined_grads = [(one.grad, torch.cat([t.grad for t in three])) for one, three in joined.items()]
    for ours, expected in [*((b.grad, a.grad) for a, b in pairs.items()), *joined_grads]:
        # absolute: one token alone attends to itself, so the gradients of its query and key are zero up to rounding
        assert relative(ours, expected) < 1e-9 or (ours - expected).abs().max() < 1e-15


def test_greedy_text_of_llama_equals_that_of_transformers():
    torch.manual_seed(3)
    model = perturbed(Model(40, 24, 3, 2, 11, **LLAMA), 3).eval()
    theirs, _, _ = hugging_face(model, "Llama")
    start = torch.randint(11, (2, 5))
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    expected = theirs.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=30, **options)
    assert torch.equal(model.generate(start, max_new_tokens=30, temperature=0.0), expected)


@quick
@given(seeds, st.integers(1, 40), st.floats(1e-3, 1e3))
def test_rmsnorm_and_its_gradients_equal_torchs(seed, width, scale):
    torch.manual_seed(seed)
    ours = perturbed(RMSNorm(width), seed)
    x = (scale * torch.randn(2, 3, width)).requires_grad_()
    upstream = torch.randn(2, 3, width)
    theirs = F.rms_norm(x, (width,), ours.weight, EPS)
    assert torch.allclose(ours(x), theirs, rtol=1e-12, atol=1e-12)
    found, expected = (torch.autograd.grad(y, (x, ours.weight), upstream) for y in (ours(x), theirs))
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(found, expected, strict=True))


@quick
@given(seeds, st.integers(1, 40))
def test_rmsnorm_in_float32_equals_that_of_llama(seed, width):
    from transformers.models.llama import modeling_llama as llama

    torch.manual_seed(seed)
    ours, theirs = perturbed(RMSNorm(width), seed).float(), llama.LlamaRMSNorm(width, eps=EPS).float()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, width, dtype=torch.float32)
    assert torch.allclose(ours(x), theirs(x), rtol=1e-6, atol=1e-6)


def test_rmsnorm_of_half_precision_is_computed_in_float32():
    x = torch.full((1, 64), 1000.0, dtype=torch.float16)  # its square overflows float16
    assert torch.allclose(RMSNorm(64)(x).double(), torch.ones(1, 64))


@quick
@given(seeds, st.integers(1, 6), st.integers(0, 20), st.integers(1, 12))
def test_rotary_positions_rotate_pairs_as_complex_numbers(seed, half, start, time):
    torch.manual_seed(seed)
    rope = RotaryEmbedding(2 * half, 40)
    x = torch.randn(1, 1, time, 2 * half)
    y = rope(x, start)
    for t, i in itertools.product(range(time), range(half)):
        turned = complex(x[0, 0, t, i], x[0, 0, t, i + half]) * cmath.exp(1j * (start + t) * 10_000 ** (-i / half))
        # the angles are float32, as in Llama
        assert abs(turned - complex(y[0, 0, t, i], y[0, 0, t, i + half])) < 1e-5 * max(1, abs(turned))
    assert torch.allclose(y.norm(dim=-1), x.norm(dim=-1), rtol=1e-6)


def test_scores_of_rotated_queries_and_keys_depend_on_their_distance_only():
    rope, q, k = RotaryEmbedding(8, 64), torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    scores = [(rope(q, start + 7) * rope(k, start)).sum().item() for start in (0, 3, 50)]
    size = (q.norm() * k.norm()).item()
    assert scores == pytest.approx([scores[0]] * 3, abs=1e-5 * size)  # the angles are float32
    assert (rope(q, 8) * rope(k, 0)).sum().item() != pytest.approx(scores[0], abs=1e-3 * size)


@quick
@given(seeds, st.integers(1, 30))
def test_the_rotary_table_equals_that_of_llama_bit_for_bit(seed, half):
    from transformers.models.llama import modeling_llama as llama

    config = llama.LlamaConfig(
        hidden_size=2 * half, num_attention_heads=1, rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE}
    )
    torch.manual_seed(seed)
    q, k = torch.randn(2, 1, 3, 17, 2 * half)
    cos, sin = llama.LlamaRotaryEmbedding(config)(q, torch.arange(17)[None])
    expected = llama.apply_rotary_pos_emb(q, k, cos, sin)
    rope = RotaryEmbedding(2 * half, 17)
    assert torch.allclose(rope(q), expected[0], rtol=1e-14, atol=1e-14)
    assert torch.allclose(rope(k), expected[1], rtol=1e-14, atol=1e-14)


def test_swiglu_has_about_as_many_parameters_as_the_network_it_replaces():
    for d_model, d_ff in ((96, 256), (128, 344), (192, 512), (2, 8), (384, 1024)):
        assert SwiGLU(d_model).proj_up.out_features == d_ff
    for d_model in (96, 128, 192, 384):
        matrices = sum(p.numel() for p in SwiGLU(d_model, bias=False).parameters())
        assert matrices == pytest.approx(8 * d_model**2, rel=0.01)


@quick
@given(seeds, st.floats(0.1, 100))
def test_the_soft_cap_bounds_logits_and_keeps_small_ones(seed, cap):
    from transformers import Gemma2Config, Gemma2ForCausalLM

    gemma = Gemma2Config(
        vocab_size=11, hidden_size=16, intermediate_size=8, num_hidden_layers=0, num_attention_heads=1,
        num_key_value_heads=1, head_dim=16, final_logit_softcapping=cap, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(seed)
    theirs = Gemma2ForCausalLM(gemma).double()
    with torch.no_grad():
        theirs.lm_head.weight.copy_(10 * torch.randn(11, 16))
    hidden = {}
    theirs.lm_head.register_forward_hook(lambda module, args, out: hidden.update(logits=out.clone()))
    capped = theirs(torch.arange(11)[None]).logits
    assert torch.allclose(soft_cap(hidden["logits"], cap), capped, rtol=1e-12, atol=1e-12)
    assert capped.abs().max() <= cap
    small = 1e-4 * cap * torch.randn(5)
    assert torch.allclose(soft_cap(small, cap), small, rtol=1e-7)


def test_value_embeddings_are_mixed_into_the_values_of_each_head():
    torch.manual_seed(0)
    mixed = perturbed(MultiHeadAttention(12, 3, value_embeddings=True), 0)
    plain = MultiHeadAttention(12, 3)
    x, value = torch.randn(2, 5, 12), torch.randn(2, 5, 12)
    with torch.no_grad():
        plain.qkv.weight.copy_(mixed.qkv.weight)
        plain.projection.load_state_dict(mixed.projection.state_dict())
    # the weights are those of the plain module; each head takes the mean of the mixed values
    found = []
    plain(x, intermediates=found)
    v = x @ mixed.qkv.weight[24:].T
    total = mixed.mix_value.weights[0] * v + mixed.mix_value.weights[1] * value
    heads = [found[0][:, h] @ total[..., 4 * h : 4 * h + 4] for h in range(3)]
    assert relative(mixed(x, value=value), plain.projection(torch.cat(heads, dim=-1))) < 1e-12
    with pytest.raises((ValueError, TypeError), match="value"):
        mixed(x)


def test_every_block_has_a_value_embedding_of_its_own():
    torch.manual_seed(0)
    model, ids = Model(8, 12, 3, 3, 11, value_embeddings=True, dropout=0.0).eval(), torch.arange(6)[None]
    _, before = model(ids, return_intermediates=True)
    with torch.no_grad():
        model.value_embeddings[1].weight.add_(1.0)
    _, after = model(ids, return_intermediates=True)
    assert [torch.equal(a, b) for a, b in zip(before.resid, after.resid, strict=True)] == [True, True, False, False]


def test_the_skip_of_the_embedding_reaches_every_block():
    torch.manual_seed(0)
    model = Model(8, 12, 3, 3, 11, x0_skip=True, dropout=0.0, bias=False).eval()
    ids = torch.randint(11, (2, 6))
    x0 = model._embed(ids)
    _, before = model(ids, return_intermediates=True)
    plain = Model(8, 12, 3, 3, 11, dropout=0.0, bias=False).eval()
    plain.load_state_dict({n: t for n, t in model.state_dict().items() if "mix_x0" not in n})
    assert torch.equal(plain(ids), model(ids))  # weights 1 and 0: the skip starts without effect
    with torch.no_grad():
        model.blocks[1].mix_x0.weights.copy_(torch.tensor([0.7, -0.4]))
    _, after = model(ids, return_intermediates=True)
    mixed = 0.7 * before.resid[1] - 0.4 * x0
    assert relative(after.resid[2], plain.blocks[1](mixed)) < 1e-12


def test_with_zero_initialized_projections_every_block_starts_as_the_identity():
    model = Model(8, 12, 3, 3, 11, **ALL_PARTS)
    _, found = model(torch.arange(8)[None], return_intermediates=True)
    assert all(torch.equal(resid, found.resid[0]) for resid in found.resid)
    loss = model.loss(torch.arange(8)[None], torch.arange(8)[None])
    loss.backward()
    for block in model.blocks:  # and it learns: the first step moves these projections
        assert block.self_attn.projection.weight.grad.abs().sum() > 0
        assert block.ffn.proj_down.weight.grad.abs().sum() > 0


def test_normalized_queries_and_keys_do_not_depend_on_the_scale_of_their_weights():
    torch.manual_seed(0)
    attention = MultiHeadAttention(12, 3, qk_norm=True)
    x, found = torch.randn(1, 6, 12), []
    attention(x, intermediates=found)
    with torch.no_grad():
        attention.qkv.weight[:24] *= 1000
    attention(x, intermediates=found)
    assert torch.allclose(found[0], found[1], atol=1e-4)  # eps matters a little where queries are small


def test_the_mean_of_the_past_is_a_running_mean():
    torch.manual_seed(0)
    module, x = perturbed(PastMean(6), 0), torch.randn(2, 5, 6)
    mean = torch.stack([(x @ module.value.weight.T)[:, : t + 1].mean(1) for t in range(5)], dim=1)
    assert relative(module(x), module.projection(mean)) < 1e-12


def test_a_learned_mix_is_a_weighted_sum():
    mix, a, b = Mix(0.25, -2.0), torch.randn(3), torch.randn(3)
    assert torch.equal(mix(a, b), 0.25 * a - 2.0 * b)


VARIANTS = {
    "llama": LLAMA,
    "all parts": ALL_PARTS,
    "mean of the past": {"attention": "mean", "d_ff": 0, "residual": False, "norm_type": "none"},
    "one block of attention alone": {"d_ff": 0, "residual": False, "norm_type": "none"},
}


def variant(name, seed=0, context_length=8, **more):
    torch.manual_seed(seed)
    options = {"dropout": 0.0, **VARIANTS[name], **more}
    heads = 1 if "mean" in name else 2
    return perturbed(Model(context_length, 16, heads, 2, 13, **options), seed).eval()


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_of_every_part_are_those_of_finite_differences(name):
    model = variant(name)
    ids, targets = torch.randint(13, (2, 2, 5))
    names = [n for n, _ in model.named_parameters()]
    values = tuple(p.detach().clone().requires_grad_() for p in model.parameters())

    def loss(*parameters):
        logits = torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (ids,))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    assert torch.autograd.gradcheck(loss, values, fast_mode=True, atol=1e-7)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("overflow", ["context_shift", "crop"])
@pytest.mark.parametrize("prompt", [1, 5, 13])
def test_text_of_every_variant_is_the_same_with_and_without_the_cache(name, overflow, prompt):
    model = variant(name)
    ids = torch.randint(13, (2, prompt))
    texts = [
        model.generate(ids, 30, generator=torch.Generator().manual_seed(1), use_cache=use_cache, overflow=overflow)
        for use_cache in (True, False)
    ]
    assert torch.equal(*texts)
    cache = KVCache(8)
    pieces = [model(ids[:, start : start + 2][:, :8], cache=cache) for start in range(0, min(prompt, 8), 2)]
    assert torch.allclose(torch.cat(pieces, dim=1)[:, :8], model(ids[:, :8])[:, :8], atol=1e-12)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_later_token_changes_no_earlier_logit_of_any_variant(name):
    model = variant(name)
    ids = torch.randint(13, (2, 8))
    for at in range(8):
        changed = ids.clone()
        changed[:, at] = (changed[:, at] + 1) % 13
        assert torch.equal(model(ids)[:, :at], model(changed)[:, :at])
        assert not torch.equal(model(ids)[:, at], model(changed)[:, at])


@pytest.mark.parametrize("name", VARIANTS)
def test_saving_and_loading_every_variant_gives_the_same_model(name, tmp_path):
    model = variant(name).float()
    model.save_pretrained(tmp_path / "m")
    again = Model.from_pretrained(tmp_path / "m").float()  # the default dtype of these tests is float64
    ids = torch.randint(13, (2, 8))
    assert again.config == model.config
    assert torch.equal(again(ids), model(ids))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"positions": "rope", "d_model": 9, "h": 3}, "`d_model` must be an even multiple of `n_heads`"),
        ({"attention": "mean", "h": 3}, "`n_heads` must be 1 for `attention` = 'mean', got 3"),
        ({"attention": "mean", "h": 1, "qk_norm": True}, "`attention` must be 'softmax' with these options"),
        ({"zero_init": True, "residual": False}, "`zero_init` must be False without residual connections"),
        ({"logit_cap": 0.0}, "`logit_cap` must be a finite number above 0, got 0.0"),
        ({"d_ff": -1}, "`d_ff` must be an integer of at least 0, got -1"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(options, named):
    with pytest.raises(ValueError, match=re.escape(named)):
        Model(**{"context_length": 8, "d_model": 12, "h": 3, "n_layers": 1, "n_vocab": 11, **options})


def test_unknown_names_of_parts_are_refused():
    with pytest.raises(ValueError, match="`norm_type` must be one of layer, rms, none, got 'batch'"):
        ModelConfig(norm_type="batch")
    with pytest.raises(ValueError, match="`positions` must be one of learned, rope, got 'alibi'"):
        ModelConfig(positions="alibi")


def test_single_heads_are_those_of_plain_attention_only():
    for options in ({"rope": RotaryEmbedding(4, 8)}, {"qk_norm": True}, {"value_embeddings": True}):
        with pytest.raises(ValueError, match="without RoPE, QK-norm and value embeddings"):
            MultiHeadAttention(12, 3, **options).heads()
    with pytest.raises(ValueError, match="`d_k` must be even"):
        RotaryEmbedding(3, 8)


def test_a_model_with_rotary_positions_has_no_position_embedding():
    model = Model(8, 12, 3, 2, 11, **LLAMA)
    assert not [n for n, _ in model.named_parameters() if "position" in n or "rope" in n]
    assert not [n for n in model.state_dict() if "rope" in n]
    assert isinstance(Model(8, 12, 3, 2, 11).position_embedding, nn.Embedding)
    assert math.isclose(model.loss(*torch.randint(11, (2, 4, 8))).item(), math.log(11), abs_tol=0.1)
