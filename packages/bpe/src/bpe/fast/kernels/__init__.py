"""The kernels: numba's subset of Python over raw memory. Imported only to be compiled, see `machine.py`."""

from bpe.fast.kernels.encode import encode, split
from bpe.fast.kernels.vocabulary import vocabulary

FUNCTIONS = {function.__name__: function for function in (encode, split, vocabulary)}
