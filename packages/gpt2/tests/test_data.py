"""Packed documents, files of `bpe encode`, and tokenizers that do not fit."""

import json

import numpy as np
import pytest
import torch
from gpt2.data.packing import PackedDocuments
from gpt2.data.prepare import prepare
from gpt2.data.token_file import TokenFiles, Windows
from gpt2.data.tokenizers import ByteTokenizer, CharTokenizer, load, save

EOS = 256


@pytest.fixture
def files(tmp_path):
    """Documents of 1 to 40 letters, each of one letter; some longer than a row of 16."""
    documents = [chr(97 + i) * (1 + i * 17 % 40) for i in range(26)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": d}) + "\n" for d in documents))
    prepare([tmp_path / "a.jsonl"], tmp_path / "out", held_out=0.2, chunk_bytes=200)
    return TokenFiles(tmp_path / "out"), documents


def test_packed_documents_start_after_the_end_of_text_and_predict_nothing_across_it(files):
    files, documents = files
    data = PackedDocuments(files, 16, seed=3)
    rows = len(data.pack(0))
    ids, targets = data.batch(0, rows)  # one whole pass
    for row, wanted in zip(ids.tolist(), targets.tolist(), strict=True):
        for before, target in zip(row, wanted, strict=True):
            if target not in (-100, EOS) and before != EOS:
                assert before == target  # never the letter of another document
    starts = targets[(ids == EOS) & (targets >= 0)].tolist()
    counts = torch.bincount(targets[targets >= 0].flatten(), minlength=257)
    trained = [i for i in range(26) if counts[97 + i]]
    assert [int(counts[97 + i]) for i in trained] == [len(documents[i]) for i in trained]  # each token once
    assert int(counts[EOS]) == len(trained)
    assert sorted(starts) == [97 + i for i in trained]  # each starts after an end of text
    assert trained == list(range(len(trained)))  # the last ones are held out
    assert len(trained) < 26


def test_packed_batches_depend_on_seed_and_step_alone(files):
    files, _ = files
    a, b = PackedDocuments(files, 16, seed=1), PackedDocuments(files, 16, seed=1)
    late = [a.batch(step, 7) for step in range(12)]
    for step in (11, 3, 7):
        assert all(torch.equal(x, y) for x, y in zip(late[step], b.batch(step, 7), strict=True))
    first = torch.cat([ids for ids, _ in late])
    rows = len(a.pack(0))
    assert not torch.equal(first[:rows], first[rows : 2 * rows])  # another order in the next pass
    assert torch.equal(a._tensors(a.pack(1))[0][: 84 - rows], first[rows:][: len(a.pack(1))][: 84 - rows])


def test_the_files_of_bpe_encode_are_read(tmp_path):
    """They are ids of two or four bytes, and a note beside them. tests in integration/ make real ones."""
    for dtype in ("<u2", "<u4"):
        path = tmp_path / f"a{dtype[2]}.bin"
        ids = np.arange(250).astype(dtype)
        ids.tofile(path)
        note = {"dtype": dtype, "tokens": 250, "n_vocab": 257, "source": "a.txt"}
        (tmp_path / f"{path.name}.json").write_text(json.dumps(note))
        out = tmp_path / f"out{dtype[2]}"
        index = prepare([path, path], out, chunk_bytes=102)
        assert (index["documents"], index["tokens"]) == (2, 502)
        assert TokenFiles(out).read(0, 502).tolist() == [*range(250), EOS] * 2
    (tmp_path / f"{path.name}.json").write_text(json.dumps({**note, "n_vocab": 50257}))
    with pytest.raises(ValueError, match="a vocabulary of 50257; the tokenizer has 257"):
        prepare([path], tmp_path / "other")
    (tmp_path / f"{path.name}.json").unlink()
    with pytest.raises(ValueError, match="missing or damaged"):
        prepare([path], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_packing_needs_an_end_token_and_texts_need_tokens(tmp_path):
    (tmp_path / "chars.json").write_text(json.dumps(CharTokenizer("ab").to_json()))
    (tmp_path / "a.txt").write_text("abba" * 20)
    prepare([tmp_path / "a.txt"], tmp_path / "out", str(tmp_path / "chars.json"))
    files = TokenFiles(tmp_path / "out")
    assert Windows(files, 8).batch(0, 2)[0].max() <= 1
    with pytest.raises(ValueError, match="without an end-of-text token"):
        PackedDocuments(files, 8)
    (tmp_path / "a.jsonl").write_text("\n\n")
    with pytest.raises(ValueError, match="no tokens at all"):
        prepare([tmp_path / "a.jsonl"], tmp_path / "none")


def test_a_named_tokenizer_must_be_the_models_own(tmp_path):
    save(ByteTokenizer(), tmp_path)
    assert load(tmp_path, "bytes").vocab_size == 257
    other = tmp_path / "other.json"
    other.write_text(json.dumps(CharTokenizer("ab").to_json()))
    with pytest.raises(ValueError, match="which the model was trained with"):
        load(tmp_path, str(other))
