"""Smaller weights: they compute what their dequantized values give, and a trained model writes the same text."""

import copy
import dataclasses
import json
import os
import platform
import shutil
import threading

import pytest
import torch
from gpt2 import GPT2
from gpt2._common.device import bf16_speedup
from gpt2.data.tokenizers import CharTokenizer
from gpt2.evaluation.perplexity import token_losses
from gpt2.inference.cache import KVCache
from gpt2.inference.native import MANY_ROWS, NativeLinear, library
from gpt2.inference.quantize import Decoder, Int8Linear, TransposedLinear, quantize
from helpers_models import random_ids, small_model

compiler = pytest.mark.skipif(os.name != "posix" or not shutil.which("cc"), reason="there is no C compiler")


@pytest.fixture(scope="module")
def trained(data_file, golden_file, tmp_path_factory):
    """The trained character model, what is known of it, and its tokenizer."""
    folder = tmp_path_factory.mktemp("trained")
    expected = json.loads(golden_file("gpt2_char_expected.json").read_text())
    (folder / "config.json").write_text(json.dumps(expected["config"]))
    (folder / "model.safetensors").symlink_to(data_file("models/gpt2_char_tinyshakespeare_hf.safetensors"))
    return GPT2.from_pretrained(folder), expected, CharTokenizer(expected["chars"])


def dequantized(model):
    """The same model with each matrix replaced by what its int8 form stands for."""
    found = GPT2(model.config).eval()
    found.load_state_dict(model.state_dict())
    with torch.no_grad():
        matrices = [p.weight for block in found.h for part in (block.attn, block.mlp) for p in part.children()]
        for weight in matrices:
            q, scale = quantize(weight.T)
            weight.copy_((q * scale[:, None]).T)
        q, scale = quantize(found.wte.weight)
        found.wte.weight.copy_(q * scale[:, None])
    return found


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_int8_equals_its_dequantized_reference(rows):
    torch.manual_seed(0)
    weight, bias, x = torch.randn(48, 64), torch.randn(48), torch.randn(rows, 64)
    q, scale = quantize(weight)
    assert (q * scale[:, None] - weight).abs().max() <= scale.max() / 2 * 1.001
    reference = x @ (q * scale[:, None]).T + bias
    error = (Int8Linear(q, scale, bias)(x) - reference).abs().max()
    assert error < (1e-5 if rows == 40 else 0.02 * reference.abs().max())
    few = Int8Linear(q, scale, None)(x.bfloat16().float()[:1])  # rows that are bfloat16 already: only sums are rounded
    exact = x.bfloat16().float()[:1] @ (q * scale[:, None]).T
    assert ((few - exact).abs() <= exact.abs() * 2**-8).all()


def test_an_int8_model_equals_its_dequantized_reference():
    model = small_model(torch.float32)
    ids = random_ids(model, 2, 20)
    reference = dequantized(model)(ids)
    assert (Decoder(model, "int8")(ids) - reference).abs().max() < 1e-4  # 40 rows: no bfloat16
    step = Decoder(model, "int8")(ids[:1, :6]) - dequantized(model)(ids[:1, :6])
    assert step.abs().max() < 0.03 * reference.abs().max()


def test_an_untied_head_keeps_its_own_matrix():
    model = small_model(torch.float32, tie_embeddings=False)
    small = Decoder(model, "int8")
    assert not torch.equal(small._model.lm_head.weight, small._model.wte.weight)
    ids = random_ids(model, 2, 20)
    assert (small(ids) - model(ids)).abs().max() < 0.05 * model(ids).abs().max()


@pytest.mark.parametrize("weights", ["float16", "bfloat16"])
def test_half_precision_equals_the_model_cast_to_it(weights):
    if weights == "bfloat16" and bf16_speedup() is None:
        with pytest.raises(ValueError, match="float32 on this CPU"):
            Decoder(small_model(torch.float32), weights)
        return
    model = small_model(torch.float32)
    ids = random_ids(model, 2, 9)
    small = Decoder(model, weights)
    assert isinstance(small._model.h[0].mlp.c_fc, TransposedLinear)
    reference = model(ids)
    unit = 2**-10 if weights == "float16" else 2**-7
    assert (small(ids).float() - reference).abs().max() < 16 * unit * reference.abs().max()


def same_greedy_texts(small, trained):
    model, expected, tokenizer = trained
    prompts = [torch.tensor([tokenizer.encode(found["prompt"])]) for found in expected["greedy"]]
    assert len(prompts) == 4
    return all(
        torch.equal(small.generate(p, 60, temperature=0.0), model.generate(p, 60, temperature=0.0)) for p in prompts
    )


def test_float16_gives_the_trained_models_greedy_texts(trained):
    assert same_greedy_texts(Decoder(trained[0], "float16"), trained)


@compiler
@pytest.mark.parametrize("weights", ["float32", "float16"])
def test_native_matmuls_give_the_trained_models_greedy_texts(trained, weights):
    assert same_greedy_texts(Decoder(trained[0], weights, compiled=True), trained)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=compiler)])
def test_int8_changes_the_perplexity_by_less_than_one_percent(trained, data_file, compiled):
    model, _, tokenizer = trained
    text = data_file("text/tinyshakespeare.txt").read_text()[-6000:]
    ids = torch.tensor(tokenizer.encode(text))
    small = Decoder(model, "int8", compiled=compiled)
    before, after = (token_losses(m, ids).double().mean().exp() for m in (model, small))
    assert before != after
    assert abs(after / before - 1) < 0.01
    # decoding takes another product than evaluation does, one row at a time
    options = {"temperature": 0.0, "return_logprobs": True}
    steps, exact = (m.generate([ids[:8].tolist()], 30, **options)[1][0] for m in (small, model))
    assert abs(float(steps.mean() - exact.mean())) < 0.05


def compiled_matmul_backend(weights, d_in):
    """A layer, rows of x, what it should make of them and how near; whatever is left over, too: rows, outputs and
    inputs that fill no block."""
    torch.manual_seed(0)
    weight, bias = torch.randn(11, d_in), torch.randn(11)
    scale = None
    if weights == "int8":
        weight, scale = quantize(weight)
    elif weights == "float16":
        weight = weight.half()
    stands_for = weight.float() if scale is None else weight * scale[:, None]
    for b in (bias, None):
        layer = NativeLinear(weight, scale, b)
        for rows in (1, 3, 4, 8, 15, 33):
            x = torch.randn(rows, d_in)
            expected = x.double() @ stands_for.double().T + (0 if b is None else b)
            bound = torch.full_like(expected, 1e-4)
            if weights == "int8" and rows <= MANY_ROWS:  # x is rounded to 32767 steps of its largest number
                bound += 0.51 * x.abs().amax(1)[:, None] / 32767 * stands_for.abs().sum(1)
            yield layer, x, expected, bound


@compiler
@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
@pytest.mark.parametrize("d_in", [64, 71])
def test_native_matmuls_equal_those_of_the_dequantized_weights(weights, d_in):
    for layer, x, expected, bound in compiled_matmul_backend(weights, d_in):
        assert ((layer(x) - expected).abs() < bound).all()
        assert torch.equal(layer(x[None])[0], layer(x))


@compiler
def test_integer_sums_fit_31_bits():
    """The largest weights and the largest numbers, in the longest row that any model of the paper has, and beyond."""
    for d_in in (6400, 30_000):
        layer = NativeLinear(torch.full((5, d_in), 127, dtype=torch.int8), torch.ones(5), None)
        assert layer(torch.full((1, d_in), -3.0)) == pytest.approx(torch.full((1, 5), -3.0 * 127 * d_in), rel=1e-4)


@compiler
def test_a_compiled_decoder_equals_the_model():
    model = small_model(torch.float32)
    ids = random_ids(model, 2, 9)
    assert (Decoder(model, "float32", compiled=True)(ids) - model(ids)).abs().max() < 1e-4
    reference = dequantized(model)(ids)
    by_weights = (reference - model(ids)).abs().max()  # 16-bit activations beside 8-bit weights
    assert (Decoder(model, "int8", compiled=True)(ids) - reference).abs().max() < by_weights / 100
    untied = small_model(torch.float32, tie_embeddings=False)
    assert (Decoder(untied, "float16", compiled=True)(ids) - untied(ids)).abs().max() < 0.05


def halved(model):
    """The same model with the matrices of its blocks, and the one of the tokens, rounded to float16."""
    found = copy.deepcopy(model)
    with torch.no_grad():
        for name, weight in found.named_parameters():
            if name.endswith("weight") and "ln_" not in name and "wpe" not in name:
                weight.copy_(weight.half())
    return found


@compiler
@pytest.mark.parametrize("texts", [1, 5, MANY_ROWS + 1])
@pytest.mark.parametrize("options", [{}, {"window": 3}, {"activation": "gelu"}, {"d_ff": 50}])
@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_a_native_block_step_equals_the_python_modules(weights, options, texts):
    """Texts of different lengths, token by token; more of them than C takes at once, too."""
    model = small_model(torch.float32, **options)
    with torch.no_grad():
        model.h[1].mlp.c_fc.bias[:4] = torch.tensor([-1e4, -40.0, 40.0, 1e4])  # where exp(x) is no float any more
    reference = {"float32": copy.deepcopy, "float16": halved, "int8": dequantized}[weights](model)
    small = Decoder(model, weights, compiled=True)
    padding = torch.arange(texts) % 4
    ids = random_ids(model, texts, 12)
    caches = [KVCache(model.config, 12, texts, padding=padding) for _ in range(2)]
    for column in range(4, 12):
        new_ids = ids[:, :5] if column == 4 else ids[:, column : column + 1]
        found, expected = (m.hidden(new_ids, cache)[:, -1] for m, cache in zip((small, reference), caches, strict=True))
        error = (found - expected).abs().max() / expected.abs().max()
        # beside int8 weights activations have 16 bits
        assert error < (1e-3 if weights == "int8" else 1e-5)


@compiler
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_model_of_another_type_is_compiled_as_float32(dtype):
    """A Hugging Face folder of float16 numbers gives a float16 model."""
    model = small_model(torch.float32).to(dtype)
    found = Decoder(model, "float32", compiled=True).generate([[5, 1, 7]], 12, temperature=0.0)
    assert torch.equal(found[0], copy.deepcopy(model).float().generate([[5, 1, 7]], 12, temperature=0.0)[0])


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=compiler)])
def test_a_decoder_cannot_be_copied_saved_trained_or_moved(compiled):
    decoder = Decoder(small_model(torch.float32), "int8", compiled=compiled)
    before = decoder.generate([[5, 1, 7]], 12, temperature=0.0)
    for copier in (copy.deepcopy, copy.copy):
        with pytest.raises(TypeError, match="cannot be copied"):
            copier(decoder)
    with pytest.raises(ValueError, match="cannot be trained"):
        decoder.train()
    for name in ("save_pretrained", "state_dict", "to", "loss", "half", "parameters"):
        assert not hasattr(decoder, name)
    if compiled:
        with pytest.raises(RuntimeError, match="cannot be moved"):
            decoder._model.double()
    assert torch.equal(decoder.generate([[5, 1, 7]], 12, temperature=0.0)[0], before[0])


@compiler
def test_native_decoding_refuses_a_cache_that_c_would_read_wrongly():
    decoder, ids = Decoder(small_model(torch.float32), compiled=True), torch.tensor([[1], [2]])
    for cache in (
        KVCache(decoder.config, 8, 2, dtype=torch.float16),
        KVCache(decoder.config, 8, 3),
        KVCache(dataclasses.replace(decoder.config, n_heads=2), 8, 2),
    ):
        with pytest.raises(ValueError, match="cache"):
            decoder.hidden(ids, cache)
    padding = torch.tensor([0, 1], dtype=torch.int32)
    found, expected = (
        [m.hidden(t, c) for t in (torch.tensor([[3, 4], [0, 4]]), ids)][1]
        for m in (decoder, small_model(torch.float32))
        for c in [KVCache(decoder.config, 8, 2, padding=padding)]
    )
    assert (found - expected).abs().max() < 1e-4


@compiler
def test_native_matmuls_need_little_stack():
    layer, errors = NativeLinear(torch.ones(4, 6400, dtype=torch.int8), torch.ones(4), None), []

    def multiply():
        errors.append(float((layer(torch.ones(MANY_ROWS, 6400)) - 6400).abs().max()))

    before = threading.stack_size(128 * 1024)
    try:
        thread = threading.Thread(target=multiply)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert errors == [pytest.approx(0, abs=1)]


@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_models_of_any_dtype_are_decoded(weights, dtype):
    model = small_model(torch.float32)
    expected = Decoder(model, weights).generate([[5, 1, 7]], 6, temperature=0.0)[0]
    assert torch.equal(Decoder(model.to(dtype), weights).generate([[5, 1, 7]], 6, temperature=0.0)[0][:4], expected[:4])


def test_weights_that_are_not_finite_are_not_quantized():
    model = small_model(torch.float32)
    with torch.no_grad():
        model.wte.weight[3, 3] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        Decoder(model, "int8")


@compiler
def test_denormal_numbers_of_pytorch_are_not_flushed():
    library()
    assert float(torch.tensor(1e-40) * 1) > 0


@compiler
@pytest.mark.slow  # each compiles the C sources again
@pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of another CPU")
@pytest.mark.parametrize("flags", [["-march=native", "-mno-avx512f"], ["-march=native", "-mno-avx512vnni"], []])
def test_native_matmuls_are_equal_without_the_newest_instructions(monkeypatch, flags):
    monkeypatch.setattr("gpt2.inference.native.FLAGS", (flags,))
    library.cache_clear()
    try:
        for weights in ("float32", "float16", "int8"):
            for d_in in (64, 71):
                for layer, x, expected, bound in compiled_matmul_backend(weights, d_in):
                    assert ((layer(x) - expected).abs() < bound).all()
                    assert torch.equal(layer(x[None])[0], layer(x))
    finally:
        library.cache_clear()


def test_a_missing_compiler_is_an_error(monkeypatch):
    library.cache_clear()
    for name, complaint in [("/nowhere/cc", "does not start"), ("false", "cannot")]:
        monkeypatch.setenv("CC", name)
        with pytest.raises(ValueError, match=complaint):
            Decoder(small_model(torch.float32), "int8", compiled=True)
    with pytest.raises(ValueError, match="be used with float32, float16, or int8 weights"):
        Decoder(small_model(torch.float32), "bfloat16", compiled=True)
    library.cache_clear()


def test_int8_takes_a_quarter_of_the_memory():
    model = small_model(torch.float32, d_model=256, vocab_size=1000)
    assert Decoder(model, "int8").num_bytes < 0.3 * Decoder(model).num_bytes
