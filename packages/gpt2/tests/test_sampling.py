import json

import pytest
import torch
import transformers
from gpt2.config import SamplingConfig
from gpt2.inference.sampling import filter_logits, penalize_repetition, sample_next
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare


def hugging_face(logits, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    """Apply the warpers of transformers in the order of its generate()."""
    warpers = [transformers.TemperatureLogitsWarper(temperature)]
    if top_k:
        warpers.append(transformers.TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(transformers.TopPLogitsWarper(top_p))
    if min_p:
        warpers.append(transformers.MinPLogitsWarper(min_p))
    for warper in warpers:
        logits = warper(None, logits)
    return logits


@given(
    st.lists(st.sampled_from([-torch.inf, -3.0, -1.0, 0.0, 0.5, 0.5001, 2.0, 7.0]), min_size=4, max_size=40),
    st.sampled_from([0.3, 1.0, 1.7]),
    st.integers(0, 6),
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    st.sampled_from([0.0, 0.05, 0.5]),
)
@settings(deadline=None, max_examples=300)
def test_filters_equal_hugging_faces_with_ties_and_infinities(values, temperature, top_k, top_p, min_p):
    logits = torch.tensor([[*values, 1.0]])  # at least one is finite
    theirs = hugging_face(logits, temperature, top_k, top_p, min_p)
    assert torch.equal(filter_logits(logits, temperature, top_k, top_p, min_p), theirs)


def test_the_420_recorded_cases(golden_file):
    cases = json.loads(golden_file("sampling_filters_a.json").read_text())["cases"]
    assert len(cases) == 420
    for case in cases:
        logits = torch.tensor([float(x) for x in case["logits"]])
        top_p = 1.0 if case["top_p"] is None else case["top_p"]
        ours = filter_logits(logits, case["temperature"], case["top_k"] or 0, top_p).softmax(-1)
        assert (ours - torch.tensor(case["probs"])).abs().max() < 1e-6


@pytest.mark.parametrize("penalty", [1.3, 0.7])
def test_the_repetition_penalty_equals_hugging_faces(penalty):
    torch.manual_seed(0)
    logits, text = torch.randn(3, 20), torch.randint(0, 20, (3, 9))
    theirs = transformers.RepetitionPenaltyLogitsProcessor(penalty)(text, logits.clone())
    ours = penalize_repetition(logits, text, torch.ones(3, 9, dtype=torch.bool), penalty)
    assert torch.equal(ours, theirs)
    padded = torch.cat([torch.full((3, 2), 5), text], dim=1)  # padding is not part of the text
    present = torch.arange(11).expand(3, 11) >= 2
    assert torch.equal(penalize_repetition(logits, padded, present, penalty), theirs)


def test_sampled_frequencies_are_those_of_the_filtered_distribution():
    logits = torch.tensor([[2.0, 1.0, 0.5, 0.0, -1.0, -3.0]])
    sampling = SamplingConfig(temperature=0.9, top_k=4, top_p=0.97)
    samples = sample_next(logits.expand(20_000, 6), sampling, torch.Generator().manual_seed(0))
    p = filter_logits(logits, 0.9, 4, 0.97).softmax(-1)[0]
    counts = torch.bincount(samples, minlength=6)
    assert counts[p == 0].sum() == 0
    expected = p[p > 0].double()
    expected *= 20_000 / expected.sum()
    assert chisquare(counts[p > 0].numpy(), expected.numpy()).pvalue > 0.001


def test_temperature_zero_takes_the_most_probable_token():
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 4.9, 5.0]])
    assert sample_next(logits, SamplingConfig(temperature=0.0)).tolist() == [1, 0]
    assert filter_logits(logits, temperature=0.0).softmax(-1).tolist() == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1.0),
        ("temperature", float("nan")),
        ("top_k", 2.5),
        ("top_k", True),
        ("top_p", "1"),
        ("top_k", -1),
        ("top_p", 1.5),
        ("min_p", -0.1),
        ("repetition_penalty", 0.0),
    ],
)
def test_values_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        SamplingConfig(**{name: value})


@pytest.mark.parametrize("temperature", [1e-45, 1e-38, 1e-7])
def test_tiny_temperatures_take_the_most_probable_token(temperature):
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, -4.9, 4.0]])
    assert sample_next(logits, SamplingConfig(temperature=temperature)).tolist() == [1, 0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_an_error(temperature):
    with pytest.raises(ValueError, match="NaN or infinite"):
        sample_next(torch.tensor([[0.0, torch.nan]]), SamplingConfig(temperature=temperature))
