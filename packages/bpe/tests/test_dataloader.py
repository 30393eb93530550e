"""A `torch.utils.data.DataLoader` with workers encodes as the process itself does, however its workers are started."""

import bpe
import pytest

torch_data = pytest.importorskip("torch.utils.data")


class Encoded(torch_data.Dataset):
    """Texts that are encoded where they are read: in a worker."""

    def __init__(self, tokenizer, texts):
        self.tokenizer, self.texts = tokenizer, texts

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, i):
        return self.tokenizer.encode_ordinary(self.texts[i])


SLOW = pytest.mark.slow  # each worker imports torch


@pytest.mark.parametrize(
    "start_method", ["fork", pytest.param("spawn", marks=SLOW), pytest.param("forkserver", marks=SLOW)]
)
def test_workers_give_the_ids_of_the_process_itself(start_method, engine, topics, make):
    import multiprocessing

    if start_method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {start_method}")
    tok = make("gpt2", engine)
    want = [tok.encode_ordinary(text) for text in topics[:30]]
    fresh = bpe.Tokenizer(tok.ranks, engine=engine)
    fresh.encode_ordinary("used before the workers start")
    loader = torch_data.DataLoader(
        Encoded(fresh, topics[:30]), batch_size=None, num_workers=2, persistent_workers=True,
        multiprocessing_context=start_method,
    )  # fmt: skip
    for _ in range(2):
        assert list(loader) == want
    assert [fresh.encode_ordinary(text) for text in topics[:30]] == want
