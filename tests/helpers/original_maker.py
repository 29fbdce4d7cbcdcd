"""Checkpoints as the paper's own code writes them, and its network in plain NumPy.

Both are written from the description of that code alone, in float64 and without a look at our network, so that they
hold where no recorded numbers are at hand.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Original:
    """Sizes of a network of the original."""

    width: int = 16
    depth: int = 2
    heads: int = 2
    patch_size: int = 2
    channels: int = 3
    hidden: int = 64
    classes: int = 5
    image_size: int = 8

    def parameters(self, seed: int = 0) -> Arrays:
        """Random parameters, none of them zero, in nested dicts named as Flax names them."""
        rng = np.random.default_rng(seed)

        def numbers(*shape: int) -> np.ndarray:
            return (rng.standard_normal(shape) * 0.5 / np.sqrt(max(shape[0], 4))).astype(np.float32)

        def dense(inputs: int, outputs: int) -> Arrays:
            return {"bias": numbers(outputs), "kernel": numbers(inputs, outputs)}

        w, p, c = self.width, self.patch_size, self.channels
        tree: Arrays = {}
        for i in range(self.depth):
            block = {"Dense_0": dense(w, 6 * w), **{f"Dense_{j}": dense(w, w) for j in (1, 2, 3, 4)}}
            block["MlpBlock_0"] = {"Dense_0": dense(w, self.hidden), "Dense_1": dense(self.hidden, w)}
            tree[f"DiTBlock_{i}"] = block
        tree["Embed_0"] = {"embedding": numbers(256, 1)}
        tree["FinalLayer_0"] = {"Dense_0": dense(w, 2 * w), "Dense_1": dense(w, p * p * c)}
        tree["LabelEmbedder_0"] = {"Embed_0": {"embedding": numbers(self.classes + 1, w)}}
        tree["PatchEmbed_0"] = {"Conv_0": {"bias": numbers(w), "kernel": numbers(p, p, c, w)}}
        for i in (0, 1):
            tree[f"TimestepEmbedder_{i}"] = {"Dense_0": dense(256, w), "Dense_1": dense(w, w)}
        return dict(sorted(tree.items()))  # DiTBlock_10 before DiTBlock_2

    def checkpoint(self, seed: int = 0, **changes: Any) -> Arrays:
        """The whole content of a checkpoint; the averaged parameters are others than the parameters."""
        state: Arrays = {"params": self.parameters(seed), "params_ema": self.parameters(seed + 1)}
        return {"train_state": state | {"opt_state": (), "step": 7} | changes, "_timestamp": 1.5}

    def velocity(self, params: Arrays, x: np.ndarray, t: np.ndarray, k: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Images NHWC [b, S, S, C], times, levels and labels [b] -> velocities, as images."""
        p, side = self.patch_size, self.image_size // self.patch_size
        c = _times(params["TimestepEmbedder_0"], t) + _times(params["TimestepEmbedder_1"], k)
        c = _silu(c + np.float64(params["LabelEmbedder_0"]["Embed_0"]["embedding"])[labels])
        kernel, bias = params["PatchEmbed_0"]["Conv_0"]["kernel"], params["PatchEmbed_0"]["Conv_0"]["bias"]
        h = np.zeros((len(x), side * side, self.width))
        for row in range(side):
            for column in range(side):
                patch = x[:, row * p : (row + 1) * p, column * p : (column + 1) * p]
                h[:, row * side + column] = np.einsum("bijc,ijcw->bw", patch, np.float64(kernel)) + bias
        h = h + _positions(self.width, side)
        for i in range(self.depth):
            h = self._block(params[f"DiTBlock_{i}"], h, c)
        shift, scale = np.split(_dense(params["FinalLayer_0"]["Dense_0"], c), 2, -1)
        out = _dense(params["FinalLayer_0"]["Dense_1"], _norm(h) * (1 + scale[:, None]) + shift[:, None])
        made = np.zeros(x.shape)
        for row in range(side):
            for column in range(side):
                patch = out[:, row * side + column].reshape(-1, p, p, self.channels)
                made[:, row * p : (row + 1) * p, column * p : (column + 1) * p] = patch
        return made

    def _block(self, block: Arrays, h: np.ndarray, c: np.ndarray) -> np.ndarray:
        parts = [part[:, None] for part in np.split(_dense(block["Dense_0"], c), 6, -1)]
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        x = _norm(h) * (1 + scale1) + shift1
        key, query, value = (_dense(block[f"Dense_{j}"], x) for j in (1, 2, 3))
        one, joined = self.width // self.heads, np.zeros_like(h)
        for head in range(self.heads):
            mine = slice(head * one, (head + 1) * one)
            scores = np.einsum("bqd,bkd->bqk", query[..., mine], key[..., mine]) / one
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            joined[..., mine] = np.einsum("bqk,bkd->bqd", weights, value[..., mine])
        h = h + gate1 * _dense(block["Dense_4"], joined)
        inner = _dense(block["MlpBlock_0"]["Dense_0"], _norm(h) * (1 + scale2) + shift2)
        inner = inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3))) / 2
        return h + gate2 * _dense(block["MlpBlock_0"]["Dense_1"], inner)


def write(path: Path, content: Any, protocol: int = 4) -> Path:
    """Write a pickle, and return its path."""
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def _dense(layer: Arrays, x: np.ndarray) -> np.ndarray:
    return x @ np.float64(layer["kernel"]) + layer["bias"]


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def _norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def _times(embedder: Arrays, value: np.ndarray) -> np.ndarray:
    angles = np.float64(value)[:, None] * np.exp(-np.log(10000) * np.arange(128) / 128)
    features = np.concatenate([np.cos(angles), np.sin(angles)], 1)
    return _dense(embedder["Dense_1"], _silu(_dense(embedder["Dense_0"], features)))


def _positions(width: int, side: int) -> np.ndarray:
    """[side * side, width]: sines and cosines of the column, then those of the row."""
    quarter = width // 4
    made = np.zeros((side * side, width))
    for row in range(side):
        for column in range(side):
            for i in range(quarter):
                frequency = 10000 ** (-i / quarter)
                for part, position in ((0, column), (2, row)):
                    made[row * side + column, part * quarter + i] = np.sin(position * frequency)
                    made[row * side + column, (part + 1) * quarter + i] = np.cos(position * frequency)
    return made
