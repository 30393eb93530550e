"""Results match independent implementations, forward and backward."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformer_torch import LabelSmoothing, LayerNorm, NoamSchedule, Transformer, TransformerConfig
from transformer_torch.attention import causal_mask, fused_attention, scaled_dot_product_attention, softmax_over_keys
from transformer_torch.config import TABLE_3
from transformer_torch.layers import layer_norm
from transformer_torch.positional import sinusoids
from transformer_torch.pretrained.torch_convert import names_of
from transformer_torch.training.fused_loss import projected_loss

SRC = torch.tensor([[5, 6, 7, 8, 9], [3, 4, 2, 0, 0], [10, 2, 0, 0, 0]])
TGT = torch.tensor([[1, 5, 6, 2], [1, 9, 2, 0], [1, 2, 0, 0]])


def random_torch_transformer(norm_first):
    torch.manual_seed(3)
    theirs = nn.Transformer(16, 4, 2, 2, 32, 0.0, batch_first=True, norm_first=norm_first).double()
    for p in theirs.parameters():  # norms and biases away from one and zero, or errors in them would not show
        nn.init.normal_(p, std=0.4)
    return theirs, nn.Embedding(13, 16).double()


def their_logits(theirs, embedding, src, tgt):
    """torch.nn.Transformer as users call it."""
    pe = sinusoids(16, 16)
    padding = src == 0
    x, y = (embedding(ids) * 4.0 + pe[: ids.size(1)] for ids in (src, tgt))
    causal = ~causal_mask(tgt.size(1))[0, 0]
    out = theirs(
        x, y, tgt_mask=causal, src_key_padding_mask=padding, memory_key_padding_mask=padding, tgt_is_causal=True
    )
    return F.linear(out, embedding.weight)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")  # torch says so of every pre-norm model
@pytest.mark.parametrize("norm_first", [False, True])
def test_logits_and_all_gradients_match_torch_nn_transformer(norm_first):
    theirs, embedding = random_torch_transformer(norm_first)
    ours = Transformer.from_torch(theirs, embedding, max_length=16).train()
    expected = their_logits(theirs, embedding, SRC, TGT[:, :-1])
    found = ours(SRC, TGT[:, :-1])
    kept = TGT[:, 1:] != 0
    assert (found - expected)[kept].abs().max() < 1e-10
    F.cross_entropy(expected[kept], TGT[:, 1:][kept]).backward()
    F.cross_entropy(found[kept], TGT[:, 1:][kept]).backward()
    parameters = dict(ours.named_parameters())
    their_parameters = dict(theirs.named_parameters())
    names = names_of(ours.config)
    assert len(names) == len(their_parameters)
    for own, name in names.items():
        assert (parameters[own].grad - their_parameters[name].grad).abs().max() < 1e-10, own
    assert (parameters["embedding.weight"].grad - embedding.weight.grad).abs().max() < 1e-10


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_to_torch_and_back_returns_the_same_model(norm):
    config = TransformerConfig(13, 16, 4, 2, 32, 0.0, norm=norm, max_length=16)
    model = Transformer(config).double().eval()
    back = Transformer.from_torch(model.to_torch(), model.embedding, max_length=16)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), back.parameters(), strict=True))
    assert (their_logits(model.to_torch(), model.embedding, SRC, TGT) - model(SRC, TGT)).abs().max() < 1e-10


def custom(encoder=None, decoder=None, **options):
    """A torch.nn.Transformer of one encoder and one decoder layer that differ from the usual ones."""
    sizes = {"d_model": 16, "nhead": 4, "dim_feedforward": 32, "batch_first": True}
    layers = (
        nn.TransformerEncoderLayer(**{**sizes, **(encoder or {})}),
        nn.TransformerDecoderLayer(**{**sizes, **(decoder or {})}),
    )
    stacks = nn.TransformerEncoder(layers[0], 1, enable_nested_tensor=False), nn.TransformerDecoder(layers[1], 1)
    for stack, name in zip(stacks, ("encoder_norm", "decoder_norm"), strict=True):
        stack.norm = options.get(name)
    return nn.Transformer(16, 4, custom_encoder=stacks[0], custom_decoder=stacks[1], batch_first=True)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (lambda: nn.Transformer(16, 4, 1, 1, 32, activation="gelu", batch_first=True), "ReLU"),
        (lambda: nn.Transformer(16, 4, 1, 2, 32, batch_first=True), "as many decoder layers"),
        (lambda: nn.Transformer(16, 4, 0, 0, 32, batch_first=True), "as many decoder layers"),
        (lambda: nn.Transformer(16, 4, 1, 1, 32, bias=False, batch_first=True), "bias"),
        (lambda: custom(decoder={"nhead": 2}), "same n_heads"),
        (lambda: custom(decoder={"activation": "gelu"}), "ReLU"),
        (lambda: custom(decoder={"norm_first": True}), "same norm_first"),
        (lambda: custom(decoder={"layer_norm_eps": 0.1}), "same layer_norm_eps"),
        (lambda: custom(decoder={"dim_feedforward": 8}), "same d_ff"),
        (lambda: custom(encoder_norm=nn.LayerNorm(16)), "final norms"),
        (lambda: custom(encoder_norm=nn.RMSNorm(16), decoder_norm=nn.RMSNorm(16)), "RMSNorm"),
        (lambda: custom(encoder_norm=nn.LayerNorm(16, bias=False)), "weight and bias"),
        (lambda: custom(encoder_norm=nn.LayerNorm(16, 0.1), decoder_norm=nn.LayerNorm(16, 0.1)), "final norms"),
    ],
)
def test_from_torch_refuses_by_name_what_this_model_cannot_be(theirs, message):
    with pytest.raises(ValueError, match=message):
        Transformer.from_torch(theirs(), nn.Embedding(13, 16))


def test_conversion_refuses_other_widths():
    with pytest.raises(ValueError, match="`embedding` must have the width"):
        Transformer.from_torch(nn.Transformer(16, 4, 1, 1, 32, batch_first=True), nn.Embedding(13, 8))
    with pytest.raises(ValueError, match="`d_k` must be d_model / n_heads"):
        Transformer(TransformerConfig(13, 16, 4, 1, 32, d_k=5)).to_torch()


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("eps", [1e-2, 1e-6])
def test_layer_norm_eps_survives_both_conversions(eps):
    torch.manual_seed(0)
    theirs = nn.Transformer(16, 4, 1, 1, 32, 0.0, layer_norm_eps=eps, norm_first=True, batch_first=True).double()
    ours = Transformer.from_torch(theirs, nn.Embedding(13, 16).double(), max_length=16)
    assert ours.config.layer_norm_eps == eps
    expected = their_logits(theirs, ours.embedding, SRC, TGT)
    assert (ours(SRC, TGT) - expected).abs().max() < 1e-10
    assert (their_logits(ours.to_torch(), ours.embedding, SRC, TGT) - expected).abs().max() < 1e-10
    again = Transformer(TransformerConfig(**ours.config.to_dict())).double()
    again.load_state_dict(ours.state_dict())
    assert torch.equal(again(SRC, TGT), ours(SRC, TGT))


def test_recorded_float64_transformer(golden_file):
    golden = np.load(golden_file("transformer_f64_a.npz"))
    about = json.loads(str(golden["meta"]))
    config = TransformerConfig(
        about["vocab"], about["d_model"], about["heads"], about["layers"], about["d_ff"], 0.0, max_length=7
    )
    model = Transformer(config).double()
    names = names_of(config) | {"embedding.weight": "emb"}
    model.load_state_dict({own: torch.tensor(golden[f"w/{name}"]) for own, name in names.items()})
    src, tgt = torch.tensor(golden["src"]), torch.tensor(golden["tgt"])
    assert np.abs(model.positions.table.numpy() - golden["pe"]).max() < 1e-12
    memory, _ = model.encode(src)
    assert np.abs(memory.detach().numpy() - golden["memory"])[src.numpy() != 0].max() < 1e-10
    logits = model(src, tgt[:, :-1])
    kept = (tgt[:, 1:] != 0).numpy()
    assert np.abs(logits.detach().numpy() - golden["logits"])[kept].max() < 1e-10
    loss = LabelSmoothing(0.1)(logits, tgt[:, 1:])
    assert abs(float(loss.detach()) - float(golden["loss"])) < 1e-12
    loss.backward()
    for own, parameter in model.named_parameters():
        assert np.abs(parameter.grad.numpy() - golden[f"g/{names[own]}"]).max() < 1e-10, own


# ---------------------------------------------------------------------------------------------- parts


def test_fast_kernels_match_their_equations():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 16, generator=generator, dtype=torch.float64, requires_grad=True)
    norm = LayerNorm(16).double()
    nn.init.normal_(norm.gamma)
    nn.init.normal_(norm.beta)
    assert (norm(x) - layer_norm(x, norm.gamma, norm.beta, norm.eps)).abs().max() < 1e-12
    q, k, v = (torch.randn(3, 2, n, 8, generator=generator, dtype=torch.float64, requires_grad=True) for n in (4, 6, 6))
    mask = torch.rand(3, 1, 4, 6, generator=generator) > 0.5
    mask[0, 0, 1] = False
    scores = torch.randn(3, 2, 4, 6, generator=generator, dtype=torch.float64)
    assert (softmax_over_keys(scores) - scores.softmax(-1)).abs().max() < 1e-14
    for m in (None, mask):
        slow, fast = scaled_dot_product_attention(q, k, v, m)[0], fused_attention(q, k, v, m)
        assert (slow - fast).abs().max() < 1e-12
        slow_grads, fast_grads = (torch.autograd.grad(out.square().sum(), (q, k, v)) for out in (slow, fast))
        assert all((a - b).abs().max() < 1e-12 for a, b in zip(slow_grads, fast_grads, strict=True))


def test_attention_is_equation_1_by_hand():
    q, k = torch.tensor([[[[2.0, 0.0]]]]), torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    v = torch.tensor([[[[1.0], [0.0]]]])
    out, weights = scaled_dot_product_attention(q, k, v)
    expected = 1 / (1 + np.exp(-2 / np.sqrt(2)))
    assert abs(float(out[0, 0, 0, 0]) - expected) < 1e-6
    assert abs(float(weights.sum()) - 1) < 1e-6


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.4])
def test_label_smoothing_matches_torch(eps):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 9, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1, 2, 3, 0], [4, 0, 0, 0], [8, 7, 6, 5]])
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=eps, ignore_index=0)
    found = LabelSmoothing(eps)(logits, targets)
    assert abs((found - expected).item()) < 1e-12
    (a,), (b,) = torch.autograd.grad(found, logits), torch.autograd.grad(expected, logits)
    assert (a - b).abs().max() < 1e-12
    assert float(a[targets == 0].abs().max()) == 0.0


def distribution(mode, eps, vocab, target, pad):
    """The target distribution of each mode, as its source defines it."""
    if mode == "annotated":  # spread over all but the target and padding
        q = torch.full((vocab,), eps / (vocab - 2), dtype=torch.float64)
        q[target], q[pad] = 1 - eps, 0.0
    elif mode == "fairseq":  # all but the target
        q = torch.full((vocab,), eps / (vocab - 1), dtype=torch.float64)
        q[target] = 1 - eps
    else:
        q = torch.full((vocab,), eps / vocab, dtype=torch.float64)
        q[target] += 1 - eps
    return q


@pytest.mark.parametrize("mode", ["torch", "fairseq", "annotated"])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_label_smoothing_is_the_cross_entropy_of_its_target_distribution(mode, eps):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([1, 0, 2, 6, 4])
    q = torch.stack([distribution(mode, eps, 7, int(t), 3) for t in targets])
    if mode == "annotated":
        expected = nn.KLDivLoss(reduction="sum")(logits.log_softmax(-1), q)
    else:
        expected = -(q * logits.log_softmax(-1)).sum()
    smoothing = LabelSmoothing(eps, mode, pad_id=3, reduction="sum")
    found = smoothing(logits, targets)
    assert abs((found - expected).item()) < 1e-12
    (a,), (b,) = torch.autograd.grad(found, logits), torch.autograd.grad(expected, logits)
    assert (a - b).abs().max() < 1e-12


def test_label_smoothing_matches_recorded_values(golden_file):
    cases = json.loads(golden_file("label_smoothing_a.json").read_text())["cases"]
    assert cases
    for case in cases:
        targets = torch.tensor(case["target"])
        for mode, loss_key, grad_key in (
            ("torch", "torch_sum", "torch_grad"),
            ("annotated", "annotated_kl_sum", "annotated_grad"),
        ):
            logits = torch.tensor(case["logits"], dtype=torch.float64, requires_grad=True)
            loss = LabelSmoothing(case["eps"], mode, case["pad"], "sum")(logits, targets)
            loss.backward()
            assert abs(float(loss.detach()) - case[loss_key]) < 1e-10
            assert (logits.grad - torch.tensor(case[grad_key], dtype=torch.float64)).abs().max() < 1e-12


@pytest.mark.parametrize("mode", ["torch", "fairseq", "annotated"])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_chunked_loss_matches_projection_and_loss(mode, eps):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(7, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([1, 5, 2, 10, 4, 9, 1])
    smoothing = LabelSmoothing(eps, mode, reduction="sum")
    logits = F.linear(x, weight)
    expected, (found, cross_entropy) = smoothing(logits, targets), projected_loss(x, weight, targets, smoothing, 3)
    assert abs((cross_entropy - F.cross_entropy(logits, targets, reduction="sum")).item()) < 1e-12
    assert abs((expected - found).item()) < 1e-12
    with torch.no_grad():
        assert abs((projected_loss(x, weight, targets, smoothing, 3)[0] - expected).item()) < 1e-12
    slow, fast = (torch.autograd.grad(loss * 0.3, (x, weight)) for loss in (expected, found))
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(slow, fast, strict=True))


def test_parameter_counts_of_table_3():
    with torch.device("meta"):
        counts = {row: Transformer(TransformerConfig.table3(row, 37_000)).num_parameters() for row in TABLE_3}
    assert counts["base"] == 63_082_496
    assert counts["big"] == 214_245_376
    # millions as printed in Table 3; compared as differences from the base model's 65, because those do not depend on
    # the vocabulary, which is only "about 37,000"
    printed = {"B16": 58, "B32": 60, "C2": 36, "C4": 50, "C8": 80, "C1024ff": 53, "C4096ff": 90}
    for row, millions in printed.items():
        assert abs((counts[row] - counts["base"]) / 1e6 - (millions - 65)) < 1, row
    assert len({counts[row] for row in ("A1", "A4", "A16", "A32")} | {counts["base"]}) == 1


def test_noam_is_equation_3():
    schedule = NoamSchedule(512, 4000)
    assert schedule(1) == pytest.approx(512**-0.5 * 4000**-1.5)
    assert schedule(4000) == pytest.approx(512**-0.5 * 4000**-0.5)
    assert schedule(100_000) == pytest.approx(512**-0.5 * 100_000**-0.5)
    tail = NoamSchedule(512, 4000, lr_scale=2.0, steps=10_000, decay_steps=5000)
    assert tail(5000) == pytest.approx(2 * schedule(5000))
    assert tail(7501) == pytest.approx(2 * schedule(7501) * 2500 / 5001)
    assert 0 < tail(10_000) < tail(9_999)
    flat = NoamSchedule(512, 4000, steps=10_000, stable_steps=6000, decay_steps=5000)
    assert flat(3999) == schedule(3999)
    assert flat(4000) == flat(5000) == schedule(4000)
    assert flat(7501) == pytest.approx(schedule(4000) * 2500 / 5001)
    plateau = NoamSchedule(512, 4000, stable_steps=1000)  # then Eq. (3) continues where it was
    assert plateau(5000) == schedule(4000)
    assert plateau(9000) == pytest.approx(schedule(8000))


def test_positions_are_section_3_5():
    table = sinusoids(50, 7)
    assert table.shape == (50, 7)
    for pos, i in ((0, 0), (3, 1), (49, 2)):
        angle = pos / 10000 ** (2 * i / 7)
        assert table[pos, 2 * i] == pytest.approx(np.sin(angle), abs=1e-12)
        assert table[pos, 2 * i + 1] == pytest.approx(np.cos(angle), abs=1e-12)
    assert table[11, 6] == pytest.approx(np.sin(11 / 10000 ** (6 / 7)), abs=1e-12)
