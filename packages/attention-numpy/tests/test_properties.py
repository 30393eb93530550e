"""Properties over dtypes, values and shapes: inputs are right or refused, never silently wrong."""

import copy
import pickle

import numpy as np
import pytest
import torch
from attention_numpy import (
    Adam,
    Dropout,
    Embedding,
    LanguageModel,
    LanguageModelConfig,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    Parameter,
    ReLU,
    Transformer,
    TransformerConfig,
    causal_mask,
    clip_gradients,
    cross_entropy,
    scaled_dot_product_attention,
)
from attention_numpy.activations import ACTIVATIONS, Elementwise, maxout
from attention_numpy.data import make_task
from attention_numpy.functional import log_softmax, softmax
from attention_numpy.generate import sample_next
from attention_numpy.layers import new_rng
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
SMALL = TransformerConfig(9, 9, 8, 2, 1, 8, 0.0)


# ------------------------------------------------------------------------------------------------------- ids


@pytest.mark.parametrize("dtype", INTEGERS)
def test_ids_of_every_integer_dtype_give_the_same_loss_and_gradients(dtype):
    config = TransformerConfig(120, 120, 512, 4, 1, 32, 0.0)  # ids * d_model exceeds 16 bits
    rng = np.random.default_rng(0)
    src, tgt = rng.integers(0, 120, (3, 7)), rng.integers(0, 120, (3, 9))
    src[0, 0] = tgt[0, 1] = 119
    found = []
    for kind in (np.int64, dtype):
        model = Transformer(config)
        s, t = src.astype(kind), tgt.astype(kind)
        loss, dlogits = cross_entropy(model(s, t[:, :-1]), t[:, 1:], ignore_index=0, label_smoothing=0.1)
        model.backward(dlogits)
        found.append((loss, model.parameters().grad))
        assert len(model.eval().generate(s, max_new_tokens=2)) == 3
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_the_embedding_of_a_large_vocabulary_has_gradients_in_the_rows_of_its_ids(dtype):
    ids = np.array([[min(1500, np.iinfo(dtype).max), 3]]).astype(dtype)
    layer = Embedding(2000, 64)
    layer.forward(ids)
    layer.backward(np.ones((1, 2, 64), np.float32))
    assert np.flatnonzero(layer.weight.grad.any(1)).tolist() == sorted(ids[0].tolist())


# ----------------------------------------------------------------------------------------------------- copies


def losses_of(model, steps=30):
    optimizer = Adam(model.parameters(), 0.05)
    found = []
    for _ in range(steps):
        loss, dlogits = cross_entropy(model([[1, 2]], [[1, 2]]), [[2, 3]])
        model.backward(dlogits)
        assert clip_gradients(model.parameters(), 1.0) > 0
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss)
    return found


def make_copies():
    return {
        "deepcopy": copy.deepcopy,
        "deepcopy of the copy": lambda m: copy.deepcopy(copy.deepcopy(m)),
        "pickle": lambda m: pickle.loads(pickle.dumps(m)),
        "part of a dictionary": lambda m: copy.deepcopy({"best": m})["best"],
    }


@pytest.mark.parametrize("name", make_copies())
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("used", [False, True])
def test_a_copied_model_learns_as_the_original_and_leaves_it_alone(name, tied, used):
    config = TransformerConfig(9, 9, 8, 2, 1, 8, 0.1, tie_embeddings=tied)
    model = Transformer(config)
    if used:
        model.parameters()
    before = model.state_dict()
    duplicate = make_copies()[name](model)
    assert duplicate.num_parameters() == model.num_parameters()
    found = losses_of(duplicate)
    assert found[-1] < 0.5 * found[0]
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    assert losses_of(model) == found


def test_a_copied_pair_of_model_and_optimizer_belongs_together():
    model = Transformer(SMALL)
    pair = (model, Adam(model.parameters(), 0.1))
    other, optimizer = copy.deepcopy(pair)
    assert optimizer.parameters is other.parameters()
    other.backward(cross_entropy(other([[1]], [[1]]), [[2]])[1])
    before = other.parameters().data.copy()
    optimizer.step()
    assert (other.parameters().data != before).any()


def test_a_copied_submodule_has_parameters_of_its_own():
    model = Transformer(SMALL)
    model.parameters()
    part = copy.deepcopy(model.encoder)
    part.parameters().data[:] = 7
    assert not (model.parameters().data == 7).any()


def test_assigning_to_data_or_grad_copies_in_place():
    model = Transformer(SMALL)
    vector = model.parameters()
    model.generator.bias.data = np.full(9, 5.0)
    assert (vector.data == 5).sum() == 9
    model.generator.bias.data = model.generator.bias.data * 2
    assert (vector.data == 10).sum() == 9
    model.generator.bias.data += 1
    assert (vector.data == 11).sum() == 9
    model.generator.bias.grad = np.ones(9)
    assert vector.grad.sum() == 9
    vector.data = np.zeros(len(vector))
    assert not model.generator.bias.data.any()
    for wrong in (np.ones(8), np.ones((1, 9)), 3.0, np.ones(9, complex), np.array(["x"] * 9), None):
        with pytest.raises(ValueError, match=r"`data` must be a real array of shape \(9,\)"):
            model.generator.bias.data = wrong
    assert not model.generator.bias.data.any()


def test_parameters_tied_before_the_first_use_learn_and_later_ones_are_refused():
    early = Transformer(SMALL, dtype=np.float64)
    early.generator.weight = early.tgt_embed.weight
    assert early.num_parameters() == Transformer(SMALL).num_parameters() - 72
    losses_of(early)
    state = early.state_dict()
    np.testing.assert_array_equal(state["generator.weight"], state["tgt_embed.weight"])

    for replace in (
        lambda m: setattr(m.generator, "weight", m.tgt_embed.weight),
        lambda m: setattr(m.generator, "weight", Parameter(np.zeros((9, 8)))),
        lambda m: setattr(m, "generator", Linear(8, 9, dtype=np.float64)),
        lambda m: m.encoder.layers.__setitem__(0, copy.deepcopy(m.encoder.layers[0])),
        lambda m: m.encoder.layers.clear(),
    ):
        late = Transformer(SMALL, dtype=np.float64)
        optimizer = Adam(late.parameters(), 0.1)
        replace(late)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"` was replaced after parameters\(\) had been called"):
                late.state_dict()
        Linear(2, 2)
        for call in (optimizer.step, late.parameters, lambda v=optimizer.parameters: clip_gradients(v, 1.0)):
            with pytest.raises(ValueError, match="was replaced after"):
                call()


def test_parameters_are_float32_or_float64():
    for make in (lambda: Linear(3, 2, dtype=np.float16), lambda: LayerNorm(3, dtype=np.int64)):
        with pytest.raises(ValueError, match="a parameter must be a float32 or float64 array, got"):
            make()
    with pytest.raises(ValueError, match="`dtype` must be float32 or float64, got 'float16'"):
        LanguageModel(LanguageModelConfig(5), dtype=np.float16)


# ------------------------------------------------------------------------------------------------------ masks


def additive(n):
    return np.where(causal_mask(n), 0.0, -np.inf)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (additive(3), "`mask` must be a boolean array, True = may attend, got float64"),
        (causal_mask(3).astype(int), "got int64"),
        (causal_mask(3).tolist(), "got list"),
        (
            np.ones((2, 3, 3), bool),
            r"`mask` must have the shape \(3, 3\) or broadcast to \(2, 2, 3, 3\) with 4 axes, got",
        ),
        (np.ones((2, 3), bool), r"got \(2, 3\)"),
        (np.ones(3, bool), r"got \(3,\)"),
        (np.ones((2, 1, 1, 4), bool), r"got \(2, 1, 1, 4\)"),
        (np.ones((4, 1, 3, 3), bool), r"got \(4, 1, 3, 3\)"),
        (np.ones((1, 2, 2, 3, 3), bool), "with 4 axes"),
    ],
)
def test_masks_are_boolean_and_fit_or_are_refused(mask, message):
    layer, x = MultiHeadAttention(4, 2), np.ones((2, 3, 4), np.float32)
    with pytest.raises(ValueError, match=message):
        layer.forward(x, mask=mask)
    q = np.ones((2, 2, 3, 2))
    with pytest.raises(ValueError, match=message):
        scaled_dot_product_attention(q, q, q, mask)
    assert not layer._saved


@pytest.mark.parametrize("shape", [(3, 3), (1, 3), (1, 1, 3, 3), (2, 1, 1, 3), (2, 2, 3, 3), (2, 2, 3, 1)])
def test_masks_that_fit_are_broadcast(shape):
    mask = np.random.default_rng(0).random(shape) < 0.7
    layer, x = MultiHeadAttention(4, 2), np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
    full = np.broadcast_to(mask, (2, 2, 3, 3)).copy()
    np.testing.assert_array_equal(layer.forward(x, mask=mask), layer.forward(x, mask=full))


def test_memory_of_another_batch_size_is_refused():
    layer = MultiHeadAttention(4, 2)
    with pytest.raises(ValueError, match=r"`memory` must have the shape \(batch = 2, .*, got \(1, 3, 4\)"):
        layer.forward(np.ones((2, 3, 4), np.float32), np.ones((1, 3, 4), np.float32))


# ------------------------------------------------------------------------------------------------- functions


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_right_or_refused_for_every_dtype_and_value(name):
    f = ACTIVATIONS[name]
    for wrong in (
        np.array([1, 2]),
        np.array([True]),
        [1.0],
        1.0,
        np.array([1j]),
        np.array(["1"]),
        np.array([1.0], "g"),
    ):
        for method in (f.value, f.derivative, Elementwise(f).forward):
            with pytest.raises(ValueError, match="`x` must be a float16, float32 or float64 array, got"):
                method(wrong)
    special = np.array([np.nan, 1.0, -1.0])
    for dtype in (np.float16, np.float32, np.float64):
        for method in (f.value, f.derivative):
            y = method(special.astype(dtype))
            assert y.dtype == dtype
            assert np.isnan(y).tolist() == [True, False, False]
            assert method(np.zeros((0, 3), dtype)).shape == (0, 3)
            assert method(np.array(0.5, dtype)).shape == ()
    x = np.linspace(-60, 60, 2001).astype(np.float16)
    with np.errstate(all="raise", under="ignore"):
        half, exact = f.value(x).astype(np.float64), f.value(x.astype(np.float64))
    np.testing.assert_allclose(half, exact, rtol=1e-3, atol=1e-6)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.integers(1, 5),
    st.integers(1, 40),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.sampled_from([0.1, 1, 20, 100, 1e4, "largest"]),
    st.integers(0, 2**32 - 1),
)
def test_softmax_and_log_softmax_equal_torchs_for_every_dtype_and_size(rows, n, dtype, size, seed):
    rng = np.random.default_rng(seed)
    scale = float(np.finfo(dtype).max) if size == "largest" else size
    x = (rng.uniform(-1, 1, (rows, n)) * scale).astype(dtype)
    exact = torch.tensor(x.astype(np.float64))
    tolerance = {np.float16: 2e-3, np.float32: 2e-5, np.float64: 1e-12}[dtype]
    with np.errstate(all="raise", under="ignore"):
        p, logp = softmax(x), log_softmax(x)
    assert p.dtype == logp.dtype == dtype
    np.testing.assert_allclose(p, exact.softmax(-1).numpy(), atol=tolerance)
    finite = np.isfinite(logp)
    np.testing.assert_allclose(logp[finite], exact.log_softmax(-1).numpy()[finite], rtol=tolerance, atol=tolerance)


def test_softmax_refuses_integers_and_scalars():
    for wrong in (np.array([20, 0, 1]), [1.0, 2.0], np.array(3.0)):
        for function in (softmax, log_softmax):
            with pytest.raises(ValueError, match="`x` must"):
                function(wrong)
    np.testing.assert_allclose(softmax(np.array([20, 0, 1], np.float16)), [1, 0, 0], atol=1e-3)
    assert np.isnan(softmax(np.array([[np.nan, 1.0], [1.0, 1.0]]))).tolist() == [[True, True], [False, False]]
    with pytest.raises(ValueError, match="multiple of 3"):
        maxout(np.ones((2, 4)), 3)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.integers(1, 1600),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([0.0, 0.1, 3.0, 1e3, 1e4, 1e5, -1e6, 1e15, 1e30]),
)
def test_a_constant_row_is_normalized_to_zero_for_every_value_and_width(width, dtype, value):
    layer = LayerNorm(width, dtype=dtype)
    y = layer.forward(np.full((2, width), value, dtype))
    np.testing.assert_array_equal(y, 0)
    assert np.isfinite(layer.backward(np.ones((2, width), dtype))).all()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.integers(2, 700),
    st.sampled_from([0, 1, 1e3, -1e5]),
    st.sampled_from([1e-3, 1, 1e4, 1e18, 1e25, 3e38]),
    st.integers(0, 2**32 - 1),
)
def test_layer_norm_in_float32_equals_torchs_in_float64(width, offset, scale, seed):
    rng = np.random.default_rng(seed)
    x = np.clip(offset + scale * rng.uniform(-1, 1, (3, width)), -3.4e38, 3.4e38).astype(np.float32)
    layer = LayerNorm(width)
    y = layer.forward(x)
    exact = F.layer_norm(torch.tensor(x.astype(np.float64)), (width,)).numpy()
    tolerance = 1e-5 + 1e-6 * abs(offset) / scale  # x itself is rounded; what is left is the rounding of the mean
    np.testing.assert_allclose(y, exact, atol=max(tolerance, 2e-4 * (offset != 0)))
    assert np.isfinite(layer.backward(np.ones_like(y))).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_stays_alone(value):
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    expected = LayerNorm(5).forward(x)
    x[1, 2] = value
    y = LayerNorm(5).forward(x)
    assert np.isnan(y[1]).any()
    np.testing.assert_array_equal(y[[0, 2]], expected[[0, 2]])


# ------------------------------------------------------------------------------------------------------- loss


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.integers(1, 9),
    st.integers(2, 12),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([-100, 0, 1]),
    st.sampled_from(["none", "NaN at ignored", "inf at ignored", "-inf of another class", "-inf of the target"]),
    st.sampled_from([np.int32, np.int64, np.uint8]),
    st.integers(0, 2**32 - 1),
)
def test_the_loss_accepts_what_torchs_accepts(n, vocab, eps, ignore, special, dtype, seed):
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(0, 3, (n, vocab)), rng.integers(0, vocab, n)
    targets[0] = 1 - ignore if ignore in (0, 1) else 0  # one target that counts
    ignored = targets == ignore
    if special.endswith("ignored"):
        logits[ignored] = np.nan if special.startswith("NaN") else np.inf
    elif special.startswith("-inf"):
        column = targets[0] if special.endswith("target") else (targets[0] + 1) % vocab
        logits[0, column] = -np.inf
    theirs = torch.tensor(logits, requires_grad=True)
    wanted = F.cross_entropy(theirs, torch.tensor(targets), ignore_index=ignore, label_smoothing=eps)
    wanted.backward()
    with np.errstate(all="raise", under="ignore"):
        loss, dlogits = cross_entropy(logits, targets.astype(dtype), label_smoothing=eps, ignore_index=ignore)
    np.testing.assert_allclose(loss, wanted.item(), rtol=1e-12, atol=1e-14)
    assert not dlogits[ignored].any()
    gradient = theirs.grad.numpy()
    if np.isfinite(gradient).all():
        np.testing.assert_allclose(dlogits, gradient, atol=1e-12)


def test_the_loss_takes_lists_scalars_float16_and_nan():
    logits = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    loss, dlogits = cross_entropy(logits, [2, 0])
    assert loss == cross_entropy(logits, np.array([2, 0]))[0]
    assert cross_entropy(logits[0], 2)[0] == cross_entropy(logits[:1], [2])[0]
    half, gradient = cross_entropy(logits.astype(np.float16), [2, 0])
    assert gradient.dtype == np.float16
    assert half == pytest.approx(loss, rel=1e-3)
    np.testing.assert_allclose(gradient, dlogits, atol=1e-3)
    assert np.isnan(cross_entropy(np.array([[np.nan, 1.0]]), [0])[0])
    assert np.isnan(cross_entropy(np.array([[np.inf, 1.0]]), [0])[0])
    assert cross_entropy(np.zeros((0, 3)), np.zeros(0, int))[0] == 0


# -------------------------------------------------------------------------------------------------- decoding


@pytest.mark.parametrize("temperature", [1e-320, 1e-30, 1e-3])
def test_a_tiny_temperature_is_greedy(temperature):
    logits = np.random.default_rng(0).normal(size=(50, 30)).astype(np.float32)
    found = sample_next(logits, temperature, None, new_rng(0))
    np.testing.assert_array_equal(found, logits.argmax(-1))


def test_top_k_takes_exactly_k_ids_where_logits_are_equal():
    found = sample_next(np.zeros((2000, 10)), 1.0, 3, new_rng(0))
    assert len(set(found.tolist())) == 3
    assert set(sample_next(np.zeros((2000, 4)), 1.0, 99, new_rng(0)).tolist()) == set(range(4))


def test_an_untrained_model_generates_neither_padding_nor_bos():
    for seed in range(3):
        model = Transformer(SMALL, seed=seed)
        model.generator.bias.data[[0, 1]] = 50
        for options in ({}, {"beam_size": 3}, {"temperature": 1.0}):
            assert not {0, 1} & set(model.generate([[3, 4]], max_new_tokens=20, **options)[0])
        assert model.generate([[3, 4]], bos_id=2, eos_id=2, max_new_tokens=3) is not None


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 2], 0), {}, "`max_new_tokens` must be an integer of at least 1, got 0"),
        (([1, 2], -5), {}, "`max_new_tokens` must be an integer of at least 1, got -5"),
        (([1, 2], 2.0), {}, "`max_new_tokens` must be an integer of at least 1, got 2.0"),
        (([1, 2], 3), {"temperature": -1}, "`temperature` must be a finite number of at least 0, got -1"),
        (([1, 2], 3), {"temperature": float("nan")}, "`temperature` must be a finite number"),
        (([1, 2], 3), {"temperature": float("inf")}, "`temperature` must be a finite number"),
        (([1, 2], 3), {"top_k": 0}, "`top_k` must be an integer of at least 1, got 0"),
        (([1, 2], 3), {"top_k": -1}, "`top_k` must be an integer of at least 1, got -1"),
        (([1, 2], 3), {"top_k": 2, "temperature": 0}, "`top_k` must be None with `temperature` = 0"),
        (([], 3), {}, "`prompt` must be a list of at least one id"),
        (([9], 3), {}, "`prompt` must have ids from 0 to 6, got 9"),
        (([0.5], 3), {}, "`prompt` must be an array of integer ids"),
        (([[1]], 3), {}, "`prompt` must be a list of at least one id"),
    ],
)
def test_a_language_model_checks_its_options_before_the_first_id(arguments, options, message):
    model = LanguageModel(LanguageModelConfig(7, 8, 2, 1, 8))
    with pytest.raises(ValueError, match=message):
        model.stream(*arguments, **options)


def test_a_language_model_streams_what_it_generates_and_takes_arrays():
    model = LanguageModel(LanguageModelConfig(7, 8, 2, 1, 8, 0.5))
    expected = model.generate([1, 2], 40)
    assert list(model.stream(np.array([1, 2], np.uint8), 40)) == expected
    stream = model.stream([1, 2], 40)
    assert [next(stream) for _ in range(3)] == expected[:3]
    assert model.training, "also while the stream is open"


# ----------------------------------------------------------------------------------------------------- layers


@pytest.mark.parametrize("layer", [ReLU(), Dropout(0.5), Dropout(0.0), LayerNorm(4), Elementwise(ACTIVATIONS["GELU"])])
@pytest.mark.parametrize("wrong", [np.ones(1, np.float32), np.ones((3, 4), np.float32), np.ones((2, 4)), 1.0])
def test_a_gradient_of_another_shape_or_dtype_is_refused(layer, wrong):
    layer.forward(np.ones((2, 4), np.float32))
    with pytest.raises(ValueError, match=r"`dy` must be float32 of shape \(2, 4\)"):
        layer.backward(wrong)


def test_a_language_model_takes_the_right_gradient_after_a_wrong_one():
    model = LanguageModel(LanguageModelConfig(7, 8, 2, 1, 8, 0.0))
    logits = model([[1, 2, 3]])
    with pytest.raises(ValueError, match="`dy` must be"):
        model.backward(logits[:, :2])
    model.backward(np.ones_like(logits))
    assert model.parameters().grad.any()


@pytest.mark.parametrize("p", [0.9999, 0.99998])
def test_dropout_near_one_works(p):
    y = Dropout(p).forward(np.ones((300, 300), np.float32))
    assert np.isfinite(y).all()


@pytest.mark.parametrize("p", [0.999995, 1.0, -0.1, float("nan"), "0.1", True, None])
def test_dropout_outside_its_range_is_refused(p):
    with pytest.raises(ValueError, match="`dropout` must be"):
        Dropout(p)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vocab_size": 0}, "`vocab_size` must be an integer of at least 1, got 0"),
        ({"norm": "x"}, "`norm` must be one of post, pre, got 'x'"),
        ({"d_ff": 0}, "`d_ff` must be an integer of at least 1, got 0"),
        ({"d_model": 0}, "`d_model` must be an integer of at least 1, got 0"),
        ({"n_heads": 3}, "`n_heads` must divide `d_model` = 128, got 3"),
        ({"n_heads": 2.0}, "`n_heads` must be an integer of at least 1, got 2.0"),
    ],
)
def test_the_configuration_of_a_language_model_is_checked(values, message):
    with pytest.raises(ValueError, match=message):
        LanguageModelConfig(**{"vocab_size": 7} | values)


# ----------------------------------------------------------------------------------------------- number words


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("forty-two", "forty two"),
        ("Forty Two", "forty two"),
        ("42", "forty two"),
        ("three hundred and five", "three hundred five"),
        ("7,012", "seven thousand twelve"),
        ("007", "seven"),
        (" Nine-Hundred  AND one ", "nine hundred one"),
    ],
)
def test_number_words_accept_the_usual_spellings(text, same):
    task = make_task("number-words")
    np.testing.assert_array_equal(task.encode(text), task.encode(same))


@pytest.mark.parametrize("text", ["1000000", "1,000,000", "4 2", "4,2", "-1", "4.5", "²", "and", ""])
def test_other_numbers_are_refused(text):
    with pytest.raises(ValueError, match="`text` must"):
        make_task("number-words").encode(text)
