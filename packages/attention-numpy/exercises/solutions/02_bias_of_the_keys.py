"""Solution of exercise 2: the bias adds q·b to every score of a row, and softmax ignores what all scores share."""

import numpy as np


def key_bias_gradient(ds: np.ndarray, q: np.ndarray) -> np.ndarray:
    """db_K = Σ_i (Σ_j dS_ij) q_i / √d_k: the sums over j are 0 for a softmax."""
    return ds.sum(-1) @ q / np.sqrt(q.shape[-1])


def _unscaled(ds: np.ndarray, q: np.ndarray) -> np.ndarray:
    return ds.sum(-1) @ q


def _zero(ds: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.zeros(q.shape[-1])


WRONG = [{"key_bias_gradient": _unscaled}, {"key_bias_gradient": _zero}]
