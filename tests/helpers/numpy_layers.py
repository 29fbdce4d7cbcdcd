"""Layers of networks, written out in NumPy for one example."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch


def layer_norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def linear(layer: torch.nn.Linear, x: np.ndarray) -> np.ndarray:
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def attention(block: Any, tokens: np.ndarray, heads: int) -> np.ndarray:
    """Softmax attention of one example's tokens [n, width], a head and a query at a time."""
    count, width = tokens.shape
    size = width // heads
    mixed = linear(block.qkv, tokens)
    out = np.zeros((count, width))
    for head in range(heads):
        query, key, value = (mixed[:, part * width + head * size :][:, :size] for part in range(3))
        for i in range(count):
            scores = key @ query[i] / math.sqrt(size)
            weights = np.exp(scores - scores.max())
            out[i, head * size : (head + 1) * size] = weights / weights.sum() @ value
    return linear(block.project, out)


def mish(x: np.ndarray) -> np.ndarray:
    return x * np.tanh(np.log1p(np.exp(x)))


def group_norm(layer: torch.nn.GroupNorm, x: np.ndarray) -> np.ndarray:
    """Channels first; each group of them has mean 0 and variance 1 over all its places, before weight and bias."""
    groups = []
    for part in np.split(x, layer.num_groups):
        groups.append((part - part.mean()) / np.sqrt(part.var() + layer.eps))
    weight, bias = (each.detach().numpy().reshape(-1, *[1] * (x.ndim - 1)) for each in (layer.weight, layer.bias))
    return np.concatenate(groups) * weight + bias


def convolve(layer: torch.nn.Conv2d, x: np.ndarray) -> np.ndarray:
    """A convolution [channels, height, width] with zeros around, an output pixel at a time."""
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    (down, right), (high, wide), (rows, columns) = layer.stride, layer.kernel_size, layer.padding
    padded = np.pad(x, ((0, 0), (rows, rows), (columns, columns)))
    tops, lefts = range(0, padded.shape[1] - high + 1, down), range(0, padded.shape[2] - wide + 1, right)
    out = np.zeros((len(weight), len(tops), len(lefts)))
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            window = padded[:, top : top + high, left : left + wide]
            out[:, i, j] = (weight * window).sum((1, 2, 3)) + bias
    return out
