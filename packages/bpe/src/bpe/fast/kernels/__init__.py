"""The kernels: numba's subset of Python over raw memory. They are imported only to be compiled (see `aot.py`)."""

from bpe.fast.kernels.cache import copy_table
from bpe.fast.kernels.count import count, rehash, words
from bpe.fast.kernels.decode import decode, decoded_size
from bpe.fast.kernels.encode import encode, split
from bpe.fast.kernels.train import lay_out, rebuild_table, train
from bpe.fast.kernels.vocabulary import vocabulary

FUNCTIONS = {
    function.__name__: function
    for function in (
        *(vocabulary, encode, copy_table, split, decode, decoded_size),
        *(count, rehash, words, lay_out, train, rebuild_table),
    )
}
