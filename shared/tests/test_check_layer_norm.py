"""Layer normalization as learners write it, in NumPy and torch."""

import numpy as np
import torch
from dlpapers_shared import check
from torch import nn


class TorchLayerNorm(nn.Module):
    def __init__(self, d_model, eps=1e-6, ddof=0):
        super().__init__()
        self.a_2, self.b_2, self.eps, self.ddof = (
            nn.Parameter(torch.ones(d_model)),
            nn.Parameter(torch.zeros(d_model)),
            eps,
            ddof,
        )

    def forward(self, x):
        std = (x.var(-1, keepdim=True, correction=self.ddof) + self.eps).sqrt()
        return self.a_2 * (x - x.mean(-1, keepdim=True)) / std + self.b_2


class NumpyLayerNorm:
    def __init__(self, d_model, wrong=False):
        self.gamma, self.beta, self.eps, self.wrong = np.ones(d_model), np.zeros(d_model), 1e-5, wrong

    def forward(self, x):
        self.std = np.sqrt(x.var(-1, keepdims=True) + self.eps)
        self.x_hat = (x - x.mean(-1, keepdims=True)) / self.std
        return self.gamma * self.x_hat + self.beta

    def train(self):
        self.training = True

    def eval(self):
        self.training = False

    def backward(self, dy):
        assert self.training, "no backward pass in evaluation mode"
        g = dy * self.gamma
        mean = 0 if self.wrong else g.mean(-1, keepdims=True)
        return (g - mean - self.x_hat * (g * self.x_hat).mean(-1, keepdims=True)) / self.std


def test_correct_layer_norms_pass():
    for correct in (nn.LayerNorm(8), nn.LayerNorm, TorchLayerNorm, NumpyLayerNorm, TorchLayerNorm(32)):
        report = check.layer_norm(correct)
        assert report.passed, report


def test_wrong_layer_norms_are_recognized():
    def outside(x, weight, bias, eps=1e-5):
        return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, correction=0) + eps) * weight + bias

    def over_batch(x, gamma, beta):
        return gamma * (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) + beta

    def rms(x, gamma, beta, eps):
        return gamma * x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) + beta

    def fixed(x, gamma, beta, eps=1e-3):
        return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) + beta

    expected = {
        "unbiased variance": TorchLayerNorm(8, ddof=1),
        "eps added to the standard deviation": outside,
        "statistics over the wrong axis (over the batch": over_batch,
        "this is RMSNorm": rms,
        "no mean subtracted": nn.RMSNorm(8, eps=1e-5),
        "eps is 1e-5, whatever is asked for": fixed,
        "mean's path forgotten in LayerNorm's gradient": NumpyLayerNorm(8, wrong=True),
    }
    for sentence, wrong in expected.items():
        assert sentence in check.layer_norm(wrong).diagnosis[0]
