"""Code that any device can run, torch.export can trace, and torch.compile can compile without graph breaks."""

import pytest
import torch
from transformer_torch import LabelSmoothing, Transformer, TransformerConfig, scaled_dot_product_attention
from transformer_torch.attention import causal_mask, fused_attention
from transformer_torch.training.fused_loss import projected_loss

CONFIG = TransformerConfig(20, 16, 2, 1, 24, 0.0, max_length=16)
SRC, TGT = torch.tensor([[5, 6, 7, 2], [9, 2, 0, 0]]), torch.tensor([[1, 5, 6], [1, 9, 0]])


@pytest.mark.parametrize("kernel", [scaled_dot_product_attention, fused_attention])
def test_attention_kernels_make_no_tensor_on_another_device(kernel):
    """The device "meta" computes shapes only, and refuses to be mixed with tensors on the CPU."""
    q = torch.empty(2, 2, 5, 8, device="meta")
    out = kernel(q, q, q, causal_mask(5, torch.device("meta")))
    assert (out[0] if isinstance(out, tuple) else out).device.type == "meta"


def test_the_fused_loss_makes_no_tensor_on_another_device():
    x, weight = torch.empty(7, 8, device="meta"), torch.empty(11, 8, device="meta", requires_grad=True)
    targets = torch.empty(7, dtype=torch.long, device="meta")
    loss, cross_entropy = projected_loss(x, weight, targets, LabelSmoothing(0.1, reduction="sum"), 3)
    assert loss.device.type == cross_entropy.device.type == "meta"


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_the_whole_model_makes_no_tensor_on_another_device(positions):
    with torch.device("meta"):
        model = Transformer(TransformerConfig(20, 16, 2, 1, 24, 0.1, positions=positions, max_length=16))
    logits = model(SRC.to("meta"), TGT.to("meta"))
    assert (logits.device.type, logits.shape) == ("meta", (2, 3, 20))


def test_the_model_can_be_exported():
    model = Transformer(CONFIG).eval()
    program = torch.export.export(model, (SRC, TGT), strict=False)
    assert torch.allclose(program.module()(SRC, TGT), model(SRC, TGT), atol=1e-6)


@pytest.mark.slow
def test_the_model_compiles_without_graph_breaks():
    model = Transformer(CONFIG).eval()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(SRC, TGT), model(SRC, TGT), atol=1e-6)
