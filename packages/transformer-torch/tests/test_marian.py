"""Hugging Face's Marian with the same weights has the same logits and translations."""

import random

import pytest
import torch
from helpers_marian import EOS, PAD, copy_to_marian, marian_config, marian_pair
from transformer_torch import TrainConfig, Trainer, Transformer, TransformerConfig, beam_search, greedy_decode
from transformer_torch.data.batching import pad
from transformers import MarianMTModel

N_SENTENCES = 200


def test_logits_equal_hugging_face_marian():
    theirs, ours = marian_pair(vocab_size=50, seed=1)
    generator = torch.Generator().manual_seed(0)
    src = torch.randint(3, 50, (8, 11), generator=generator)
    src[:, 9:] = 0
    src[0, 5:] = 0
    tgt = torch.randint(3, 50, (8, 7), generator=generator)
    tgt[:, 0] = 0
    expected = theirs(input_ids=src, attention_mask=(src != 0).long(), decoder_input_ids=tgt).logits
    assert (ours(src, tgt) - expected).abs().max() < 1e-5


@pytest.fixture(scope="module")
def trained():
    """A model halfway through learning to copy and double: translations end, are uncertain, and differ in length."""
    rng = random.Random(0)

    def pair():
        words = [rng.randint(4, 15) for _ in range(rng.randint(2, 7))]
        return [*words, EOS], [PAD, *(w for w in words for _ in range(2 if rng.random() < 0.4 else 1)), EOS]

    torch.manual_seed(0)
    ours = Transformer(TransformerConfig(16, 32, 4, 2, 64, 0.0, max_length=128))
    config = TrainConfig(250, 600, warmup_steps=50, lr_scale=0.4, device="cpu", dtype="float32", eval_every=1000)
    Trainer(ours, config, [pair() for _ in range(600)]).fit()
    theirs = MarianMTModel(marian_config(16)).eval()
    with torch.no_grad():
        copy_to_marian(ours, theirs)
    return ours, theirs, pad([pair()[0] for _ in range(N_SENTENCES)])


def generated(theirs, src, **options):
    """The output of Hugging Face's generate without begin, end and padding."""
    out = theirs.generate(src, attention_mask=(src != PAD).long(), max_length=src.size(1) + 51, **options)
    return [[t for t in row[1:].tolist() if t not in (PAD, EOS)] for row in out]


def test_greedy_decoding_equals_hugging_face(trained):
    ours, theirs, src = trained
    found = greedy_decode(ours, src, bos_id=PAD, eos_id=EOS)
    expected = generated(theirs, src, num_beams=1, do_sample=False)
    limits = ((src != PAD).sum(-1) + 50).tolist()  # Hugging Face has one limit for the whole batch
    assert found == [ids[:limit] for ids, limit in zip(expected, limits, strict=True)]
    assert len({tuple(f) for f in found}) > 50


@pytest.mark.parametrize(("alpha", "stop", "early"), [(1.0, "heuristic", False), (0.6, "exact", "never")])
def test_beam_search_equals_hugging_face(trained, alpha, stop, early):
    ours, theirs, src = trained
    found = beam_search(ours, src, PAD, EOS, 4, alpha, "power", stop)
    options = {"num_beams": 4, "do_sample": False, "length_penalty": alpha, "early_stopping": early}
    assert [pool[0][0] for pool in found] == generated(theirs, src, **options)
    assert [p[0][0] for p in found] != greedy_decode(ours, src, bos_id=PAD, eos_id=EOS)
