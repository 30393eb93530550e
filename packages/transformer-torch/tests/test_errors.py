"""Bad values and files of every kind raise one ValueError that names them."""

import dataclasses
import math
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from transformer_torch import DataConfig, LabelSmoothing, NoamSchedule, TrainConfig, TransformerConfig, Translator
from transformer_torch._common.atomic import write_json
from transformer_torch._common.tensors import write_tensors
from transformer_torch.data.tokenizer import SymbolTokenizer
from transformer_torch.model import Transformer

NUMBERS = [
    *[
        (TransformerConfig, f.name)
        for f in dataclasses.fields(TransformerConfig)
        if "int" in f.type or "float" in f.type
    ],
    *[(TrainConfig, f.name) for f in dataclasses.fields(TrainConfig) if "int" in f.type or "float" in f.type],
    (DataConfig, "bpe_dropout"),
]
CHOICES = [
    *[(TransformerConfig, name) for name in ("norm", "positions")],
    *[(TrainConfig, name) for name in ("optimizer", "smoothing_mode", "dtype")],
    (DataConfig, "vocab"),
]
# the second is raised where the suite has annotations checked
REFUSED = (ValueError, TypeCheckError)


def make(kind, **values):
    return kind(**{"vocab_size": 20, **values}) if kind is TransformerConfig else kind(**values)


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=lambda x: getattr(x, "__name__", x))
@pytest.mark.parametrize("value", ["3", True, math.nan, math.inf, -1, [2], 1e400], ids=repr)
def test_every_numeric_setting_refuses_what_is_not_a_number_in_range(kind, name, value):
    with pytest.raises(REFUSED, match=name):
        make(kind, **{name: value})


@pytest.mark.parametrize(("kind", "name"), CHOICES, ids=lambda x: getattr(x, "__name__", x))
@pytest.mark.parametrize("value", ["x", "", 3, True], ids=repr)
def test_every_choice_refuses_what_is_not_one_of_its_values(kind, name, value):
    with pytest.raises(REFUSED, match=name):
        make(kind, **{name: value})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TransformerConfig(20, d_model=10, n_heads=3), "`n_heads` must divide `d_model` = 10, got 3"),
        (lambda: TransformerConfig(20, dropout=1.0), r"`dropout` must be in \[0, 1\), got 1.0"),
        (lambda: TransformerConfig(20, n_layers=0), "`n_layers` must be an integer of at least 1, got 0"),
        (lambda: TransformerConfig(20, pad_id=20), "`pad_id` must be an integer from 0 to 19, got 20"),
        (lambda: TransformerConfig.table3("F", 20), "`row` must be one of base, A1, .*, got 'F'"),
        (lambda: TrainConfig(10, decay_steps=11), "`decay_steps` must be at most `steps` = 10, got 11"),
        (lambda: TrainConfig(average=2, patience=1), "`average` must be 1 with `patience` above 0, got 2"),
        (lambda: NoamSchedule(512)(0), "`step` must be an integer of at least 1, got 0"),
        (lambda: NoamSchedule(512, decay_steps=5), "`decay_steps` must be at most `steps` = None, got 5"),
        (lambda: LabelSmoothing(1.0), r"`label_smoothing` must be in \[0, 1\), got 1.0"),
        (lambda: LabelSmoothing(0.1, "annotated")(torch.zeros(1, 2), torch.tensor([1])), "`vocab_size` must be"),
    ],
)
def test_error_messages_name_value_and_condition(call, message):
    with pytest.raises(REFUSED, match=message):
        call()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    tokenizer = SymbolTokenizer.build(["abc"], "")
    config = TransformerConfig(len(tokenizer), 8, 2, 1, 8, max_length=16)
    tokenizer.save(folder)
    write_json(folder / "config.json", {"model": config.to_dict()})
    write_tensors(folder / "model.safetensors", Transformer(config).state_dict())
    assert Translator.load(folder).translate(["ab"], beam_size=1)
    return folder


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(["config.json", "tokenizer.json", "model.safetensors"]),
    content=st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"{}", b"[]", b"null", b'{"model": 3}', b'{"model": {}}', b'{"kind": "words", "symbols": 3}']),
        st.sampled_from(
            [b'{"kind": "subwords"}', b'{"model": {"vocab_size": "7"}}', b'{"model": {"vocab_size": NaN}}']
        ),
    ),
)
def test_damaged_files_raise_a_value_error_that_names_the_file(tiny, tmp_path_factory, name, content):
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(tiny, folder, dirs_exist_ok=True)
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        Translator.load(folder)
