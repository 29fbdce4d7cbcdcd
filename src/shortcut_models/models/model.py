"""A trained model: what one does with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor

from ..base import X
from ..errors import UserError
from ..path import sampling_times
from ..randomness import sample_noise
from ..sampling import euler_back, last
from ..system.defaults import torch_defaults
from ..system.machine import torch_device
from .conditioning import Labels
from .pictures import draw_named
from .sampler import Sampler
from .saving import save_model


class Reconstruction(NamedTuple):
    """What `Model.reconstruct` returns."""

    noise: Tensor
    """the noise of each example, float32 [n, *shape], on the model's device: `sample_from` takes it"""
    samples: np.ndarray
    """what the model makes of that noise, [n, ...] in the task's own units"""


@dataclass
class Model(Sampler):
    """What `shortcut_models.load` returns: it makes samples. Several threads may sample at once."""

    def save(self, path: Path | str) -> None:
        """Write the model, whole or not at all, so that `shortcut_models.load(path)` makes the same samples.

        Args:
            path: a file that ends in .safetensors, or a folder, which gets the layout of the Hugging Face Hub:
                `config.json` and `model.safetensors`. A model that was saved there before is replaced.

        Raises:
            UserError: something else is there, or the path cannot be written.
        """
        save_model(self, Path(path))

    def to(self, device: str | torch.device) -> "Model":
        """Move the network to a device (cpu, cuda, cuda:1, ...; auto: a CUDA GPU where there is one); return the model.

        Raises:
            UserError: the device is not available.
        """
        self.network.to(torch_device(str(device)))
        return self

    def compile(self, **options: Any) -> "Model":
        """Compile the network with `torch.compile` and make two samples, which compiles it now; return the model.

        Samples then differ by rounding. Call this once, before threads sample.

        Args:
            options: those of `torch.compile`, such as mode="max-autotune" or dynamic=True.

        Raises:
            UserError: torch cannot compile the network here; the model stays as it was.
        """
        before = self.network._compiled_call_impl  # of `nn.Module.compile`, which has no way back
        try:
            self.network.compile(**options)
            self.sample_from(torch.zeros(2, *self.task.shape), 1, decode=False)
        except UserError:
            raise
        except Exception as error:  # of any kind: compilers raise their own
            self.network._compiled_call_impl = before
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"torch cannot compile the network here ({reason}): leave compile out") from None
        return self

    @torch_defaults()
    def trajectory(
        self, num: int, *, steps: int = 1, label: Labels | None = None, cond: Mapping[str, Any] | None = None,
        seed: int = 0, guidance: float = 1.0, batch_size: int = 250, decode: bool = True,
    ) -> np.ndarray:  # fmt: skip
        """Return samples with all that comes before them, [steps + 1, num, ...]: first the noise, last the samples.

        The last is what `sample` returns for the same arguments. Methods that take one step whatever `steps` is
        (two-model, behaviour cloning) have two points.

        Args:
            num, steps, label, cond, seed, guidance, batch_size: as for `sample`.
            decode: in the task's own units; otherwise as the network sees data, float32 [steps + 1, num, *shape].

        Raises:
            UserError: as for `sample`, or the method is your own and defines `sample` alone.
        """
        self.check_steps(steps)
        self.check_request(num, seed, guidance, batch_size, encoded=steps + 1, decoded=2 * (steps + 1))
        labels, others = self.resolve(num, label, cond)
        form = self.task.decode if decode else lambda x: x.float().cpu().numpy()
        parts = [
            np.stack([form(x) for x in self.trajectory_from(noise, steps, some, guidance)])
            for noise, some in self.batches(num, seed, labels, batch_size, others)
        ]
        return np.concatenate(parts, axis=1)

    @torch_defaults()
    def interpolate(
        self, pairs: int | tuple[X, X] = 8, points: int = 9, *, steps: int = 1, label: Labels | None = None,
        cond: Mapping[str, Any] | None = None, seed: int = 0, guidance: float = 1.0, batch_size: int = 250,
    ) -> np.ndarray:  # fmt: skip
        """Return samples [pairs, points, ...] of the noises on the way from one noise to another, for each pair.

        The way is n z1 + sqrt(1 - n^2) z0 for n from 0 to 1, which is standard normal where z0 and z1 are, and
        independent of one another.

        Args:
            pairs: how many, from the noises of `seed`; or the two ends (z0, z1), each [pairs, *shape], for example the
                noises of `reconstruct`.
            points: samples for each pair, both ends among them, at least 2.
            label, cond: as for `sample`, with one class or condition for each pair.
            steps, seed, guidance, batch_size: as for `sample`.

        Raises:
            UserError: a number out of its range, an unknown class, or ends of another shape.
        """
        if points < 2:
            raise UserError(f"points must be at least 2, not {points}")
        shape = self.task.shape
        if isinstance(pairs, tuple):
            z0, z1 = (z.to(self.device, torch.float32) for z in pairs)
            if not z0.shape == z1.shape == (len(z0), *shape) or not len(z0):
                raise UserError(f"the ends must both be [pairs, {', '.join(map(str, shape))}], not {list(z0.shape)} "
                                f"and {list(z1.shape)}")  # fmt: skip
            count = len(z0)
        else:
            count = pairs
        if count < 1:
            raise UserError(f"pairs must be at least 1, not {count}")
        self.check_steps(steps)
        self.check_request(count * points, seed, guidance, batch_size, encoded=3)
        if not isinstance(pairs, tuple):
            z1, z0 = sample_noise(seed, range(2 * count), shape).view(count, 2, *shape).unbind(1)
        n = torch.linspace(0, 1, points, device=z0.device).view(points, *[1] * len(shape))
        noise = (n * z1[:, None] + (1 - n**2).sqrt() * z0[:, None]).flatten(0, 1)
        labels, found = self.resolve(count, label, cond)
        each = self.conditions(range(count), labels) if found is None else found
        whole = {name: value.repeat_interleave(points, 0) for name, value in each.items()}
        parts = [slice(begin, begin + batch_size) for begin in range(0, len(noise), batch_size)]
        made = [
            self.sample_from(noise[part], steps, {name: value[part] for name, value in whole.items()}, guidance)
            for part in parts
        ]
        return np.concatenate(made).reshape(count, points, *made[0].shape[1:])

    @torch_defaults()
    def reconstruct(
        self, data: Shaped[Tensor, "n ..."], *, steps: int | None = None, label: Labels | None = None,
        cond: Mapping[str, Any] | None = None,
    ) -> Reconstruction:  # fmt: skip
        """Return the noise of examples, by the flow backwards in so many steps, and what the model makes of that noise.

        The error falls with the number of steps. A step takes one pass through the network, either way.

        Args:
            data: raw examples, as the data set gives them: `task.dataset("test").__getitems__([0, 1]).data`. Where the
                task encodes at random, as latents do, torch's global generator decides.
            steps: of each way; None: the most that the model has, which is the most exact.
            label, cond: as for `sample`, of each example.

        Raises:
            UserError: the method does not learn the velocity of a flow, so it has no way back; or examples, conditions
                or steps do not fit.
        """
        step_cond = self.objective.velocity_step_size
        if step_cond is None:
            raise UserError(
                f"{type(self.objective).__name__} does not learn the velocity of a flow, so no way leads from data to "
                f"noise: use a model of shortcut, flow, reflow or live-reflow"
            )
        steps = self.objective.max_steps if steps is None else steps
        self.check_steps(steps)
        try:
            x = self.task.encode(data.to(self.device))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise UserError(f"data does not fit ({error}): pass examples as the data set gives them") from None
        if tuple(x.shape) != (len(data), *self.task.shape) or not len(data):
            raise UserError(
                f"data must be [n, ...] as the data set gives it, which becomes {['n', *self.task.shape]}, and this "
                f"becomes {list(x.shape)}"
            )
        labels, others = self.resolve(len(x), label, cond)
        cond = self.conditions(range(len(x)), labels) if others is None else others
        times = sampling_times(steps, self.objective.max_steps)
        with self._sampling(x, steps, cond) as (start, prepared):
            noise = last(euler_back(self.network, start, prepared, times, step_cond=step_cond))
        return Reconstruction(noise, self.sample_from(noise, steps, cond))

    def draw(self, samples: np.ndarray, labels: np.ndarray, columns: int) -> Image.Image:
        """Draw samples [n, ...] as one picture, below the names of their classes [n] where the task has names.

        labels: as of `labels`; -1 stands for none.
        """
        return draw_named(self.task, samples, labels, columns)
