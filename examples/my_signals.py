"""Your own data, network and method in one file: signals of 64 numbers, a plain module, and MeanFlow."""

import argparse
import tempfile
from dataclasses import dataclass

import torch
from torch import nn

import shortcut_models as sm
from shortcut_models.path import broadcast, interpolate, sampling_times, velocity
from shortcut_models.sampling import euler

ANGLES = torch.linspace(0, 2 * torch.pi, 64)
frequency, height, phase = 0.5 + 2 * torch.rand(3, 4000, 1, generator=torch.manual_seed(0))
DATA = {"x": (height * torch.sin(frequency * ANGLES + 3 * phase))[:, None], "frequency": frequency, "height": height}


class SignalNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(98, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 64))

    def forward(self, x, t, d, frequency, height):
        angles = torch.stack([t, d], 1)[..., None] * torch.pi * 2.0 ** torch.arange(-1, 7, device=x.device)
        waves = torch.cat([angles.sin(), angles.cos()], -1).flatten(1)
        return self.layers(torch.cat([x.flatten(1), waves, frequency, height], 1)).reshape(x.shape)


@dataclass(frozen=True)
class MeanFlow(sm.Objective):  # Geng et al. 2025, arXiv 2505.13447
    max_steps = 128
    nfe_per_example = 5.0  # a jvp takes 3 passes, and the way back 2: docs/methods.md, "To count evaluations"

    def losses(self, net, target_net, batch, **context):
        noise, (a, b) = torch.randn_like(batch.data), torch.rand(2, len(batch), device=batch.data.device)
        t, d = torch.minimum(a, b), (a - b).abs() * (torch.rand_like(a) < 0.5)  # half of the rows are flow matching
        x, v, cond = interpolate(noise, batch.data, t), velocity(noise, batch.data), net.encode(batch.cond)
        along = (v, torch.ones_like(t), -torch.ones_like(d))  # along the path, to an end t + d that stays
        u, slope = torch.func.jvp(lambda x, t, d: net(x, t, d, cond), (x, t, d), along)
        loss = (u - (v + broadcast(d, x) * slope).detach()).square().flatten(1).mean(1)
        return sm.Losses(loss / (loss.detach() + 0.01), {"error": loss.detach()})

    def trajectory(self, net, noise, cond, steps, *, guidance=1.0):
        return euler(net, noise, cond, sampling_times(steps, self.max_steps), guidance=guidance)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default=tempfile.mkdtemp(), help="directory of both runs (default: a temporary one)")
    parser.add_argument("--train-steps", type=int, default=2000, help="of shortcut; MeanFlow gets the same compute")
    args, task = parser.parse_args(), sm.FromDataset(DATA)
    for objective in (sm.Shortcut(), MeanFlow()):
        train_steps = round(args.train_steps * sm.Shortcut().nfe_per_example / objective.nfe_per_example)
        name, training = type(objective).__name__, sm.Training(train_steps=train_steps, batch_size=128)
        sm.fit(SignalNet(), objective, task, run=f"{args.run}/{name}", training=training)
        model = sm.load(f"{args.run}/{name}", network=SignalNet(), objective=objective, task=task)
        for steps, row in sm.evaluate(model, [1, 4, 128], num=400, quiet=True)["steps"].items():
            print(f"{name}, {train_steps} training steps: {row['sliced_wasserstein']:.3f} off in {steps} steps")
