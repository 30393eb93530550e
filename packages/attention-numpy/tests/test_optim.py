"""Optimizers, schedules and clipping equal torch's over a hundred steps."""

import numpy as np
import pytest
import torch
from attention_numpy import SGD, Adam, AdamW, Parameter, ParameterVector, clip_gradients, cosine, linear, noam
from attention_numpy.optim import BLOCK

STEPS = 100
NOAM = noam(d_model=64, warmup_steps=40, lr_scale=2.0)
CASES = {
    "SGD": (lambda p: SGD(p, 0.1), lambda p: torch.optim.SGD(p, 0.1)),
    "SGD, momentum": (lambda p: SGD(p, 0.1, momentum=0.9), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
    "Adam": (
        lambda p: Adam(p, 0.01, betas=(0.9, 0.98), eps=1e-9),
        lambda p: torch.optim.Adam(p, 0.01, betas=(0.9, 0.98), eps=1e-9),
    ),
    "Adam, large eps": (
        lambda p: Adam(p, 0.01, betas=(0.8, 0.9), eps=0.3),
        lambda p: torch.optim.Adam(p, 0.01, betas=(0.8, 0.9), eps=0.3),
    ),
    "AdamW": (lambda p: AdamW(p, 0.01, weight_decay=0.1), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
    "Adam, Noam schedule": (
        lambda p: Adam(p, betas=(0.9, 0.98), eps=1e-9, schedule=NOAM),
        lambda p: torch.optim.Adam(p, 1.0, betas=(0.9, 0.98), eps=1e-9),
    ),
}


def vector(values):
    named = {str(i): Parameter(v.copy()) for i, v in enumerate(values)}
    return named, ParameterVector(named)


@pytest.mark.parametrize("name", CASES)
def test_a_hundred_steps_equal_torchs(name, relative_error):
    rng = np.random.default_rng(1)
    values = [rng.normal(size=shape) for shape in [(3, 4), (7,), (BLOCK // 100, 101)]]  # more than one block
    named, parameters = vector(values)
    ours = CASES[name][0](parameters)
    leaves = [torch.tensor(v, requires_grad=True) for v in values]
    theirs = CASES[name][1](leaves)
    scheduler = torch.optim.lr_scheduler.LambdaLR(theirs, lambda t: NOAM(t + 1)) if "Noam" in name else None
    for _ in range(STEPS):
        for parameter, leaf in zip(named.values(), leaves, strict=True):
            gradient = 0.1 * parameter.data + rng.normal(size=parameter.data.shape)
            parameter.grad[...] = gradient
            leaf.grad = torch.tensor(gradient)
        if scheduler is not None:
            assert ours.schedule(ours.t + 1) == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-14)
        ours.step()
        theirs.step()
        if scheduler is not None:
            scheduler.step()
        ours.zero_grad()
        assert not parameters.grad.any()
    for parameter, leaf in zip(named.values(), leaves, strict=True):
        assert relative_error(parameter.data, leaf.detach().numpy()) <= 1e-12


def test_the_noam_schedule_is_the_papers():
    schedule = noam(d_model=512, warmup_steps=4000)
    for step in (1, 10, 3999, 4000, 4001, 100_000):
        assert schedule(step) == pytest.approx(512**-0.5 * min(step**-0.5, step * 4000**-1.5), rel=1e-14)
    assert max(range(1, 20_000), key=schedule) == 4000
    assert schedule(4000) == pytest.approx(6.9877e-4, rel=1e-4)


def test_the_linear_schedule_rises_and_decays_to_zero():
    schedule = linear(0.5, 10, 110)
    assert [schedule(t) for t in (5, 10, 60, 110, 200)] == pytest.approx([0.25, 0.5, 0.25, 0, 0])


def test_the_cosine_schedule_rises_and_decays_to_its_end():
    schedule = cosine(0.5, 10, 110, end_lr=0.1)
    assert [schedule(t) for t in (5, 10, 60, 110, 200)] == pytest.approx([0.25, 0.5, 0.3, 0.1, 0.1])
    assert schedule(35) == pytest.approx(0.1 + 0.4 * (1 + np.cos(np.pi / 4)) / 2)


@pytest.mark.parametrize("largest", [0.5, 1e6])
def test_clipping_equals_torchs(largest, relative_error):
    rng = np.random.default_rng(2)
    values = [rng.normal(size=shape) for shape in [(3, 4), (7,)]]
    named, parameters = vector(values)
    leaves = [torch.tensor(v, requires_grad=True) for v in values]
    for parameter, leaf in zip(named.values(), leaves, strict=True):
        parameter.grad[...] = rng.normal(size=parameter.data.shape)
        leaf.grad = torch.tensor(parameter.grad)
    norm = clip_gradients(parameters, largest)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(leaves, largest).item(), rel=1e-12)
    for parameter, leaf in zip(named.values(), leaves, strict=True):
        assert relative_error(parameter.grad, leaf.grad.numpy()) <= 1e-12


def test_a_restored_optimizer_continues_bit_for_bit():
    rng = np.random.default_rng(3)
    gradients = rng.normal(size=(6, 5))
    ends = []
    for stop in (6, 3):
        _, parameters = vector([np.ones(5)])
        optimizer = AdamW(parameters, 0.1)
        for gradient in gradients[:stop]:
            parameters.grad[...] = gradient
            optimizer.step()
        state, data = optimizer.state_dict(), parameters.data.copy()
        _, parameters = vector([data])
        optimizer = AdamW(parameters, 0.1)
        optimizer.load_state_dict(state)
        for gradient in gradients[stop:]:
            parameters.grad[...] = gradient
            optimizer.step()
        ends.append(parameters.data)
    np.testing.assert_array_equal(ends[0], ends[1])


def test_float32_stays_float32():
    _, parameters = vector([np.ones(5, np.float32)])
    parameters.grad[...] = 0.5
    for optimizer in (Adam(parameters), AdamW(parameters), SGD(parameters, momentum=0.9)):
        optimizer.step()
        assert {s.dtype for s in optimizer.state.values()} == {np.dtype(np.float32)}
    assert parameters.data.dtype == np.float32
