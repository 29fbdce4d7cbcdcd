"""What every method owes those who sample it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..base import Batch, Condition, Network, Objective
from ..errors import UserError
from ..randomness import seed_all
from .devices import require_device
from .examples import Probe, ScaleNetwork
from .findings import calling, describe, differ, fail

ROWS = 4


def check_sampling(
    objective: Objective, net: Network, batch: Batch, conditions: Mapping[str, Condition], *, strict: bool
) -> None:
    """Check `sample`: what it returns, its passes, guidance, and that each sample follows from its noise alone.

    strict: compare rows in double precision, which the network must take.
    """
    some, noise = batch[:ROWS], torch.randn_like(batch.data[:ROWS])
    check_samples(objective, net, noise, some, conditions)
    check_steps(objective, net, noise, some)
    check_randomness(objective, net, noise, some)
    check_rows(objective, net.double() if strict else net, noise.double() if strict else noise, some, strict=strict)
    net.float()
    check_noise(objective, net, noise, some)
    if batch.cond:
        check_guidance(objective, net, noise, some)


def _sample(
    objective: Objective, net: Network, noise: Tensor, batch: Batch, steps: int, guidance: float = 1.0
) -> Tensor:
    with calling(f"sample(net, noise {describe(noise)}, cond, steps={steps}, guidance={guidance})",
                 "take sample(net, noise, cond, steps, *, guidance=1.0)"):  # fmt: skip
        return objective.sample(net, noise, batch.cond, steps, guidance=guidance)


def check_samples(
    objective: Objective, net: Network, noise: Tensor, batch: Batch, conditions: Mapping[str, Condition]
) -> None:
    """Check that samples have the shape and dtype of the noise, are finite, hold no gradient and leave the noise."""
    before, most = noise.clone(), objective.max_steps
    for steps in sorted({1, min(3, most), min(2, most) if conditions else most}):
        for guidance in (1.0, 1.5) if steps < 4 else (1.0,):
            made = _sample(objective, net, noise, batch, steps, guidance)
            what = f"sample in {steps} steps with guidance {guidance}"
            if not isinstance(made, Tensor) or made.shape != noise.shape or made.dtype != noise.dtype:
                fail(what, f"returns {describe(made)}, not {describe(noise)}", "return data of the shape of the noise")
            require_device(what, made, noise.device)
            if not made.isfinite().all():
                fail(what, "returns numbers that are not finite", "do not divide by t or 1 - t where these are 0")
            if made.requires_grad:
                fail(what, "keeps gradients, and the memory of all steps", "put @torch.no_grad() above sample")
            if torch.equal(made, noise):
                fail(what, "returns the noise as it is", "take steps along the velocity of net")
            if not torch.equal(noise, before):
                fail(what, "changes the noise in place", "compute new tensors: no +=, no add_")


def check_steps(objective: Objective, net: Network, noise: Tensor, batch: Batch) -> None:
    """Check that a number of steps is the number of passes, or that all take one, and that others are refused."""
    most, passes = objective.max_steps, {}
    for steps in sorted({1, min(2, most), min(5, most), min(8, most)}):
        probe = Probe(ScaleNetwork())
        _sample(objective, probe, noise, batch, steps)
        passes[steps] = probe.passes
    if any(count != steps for steps, count in passes.items()) and set(passes.values()) != {1}:
        said = ", ".join(f"{count} in {steps} steps" for steps, count in passes.items())
        fail("sample", f"makes other numbers of passes than of steps: {said}",
             "a step is a pass, so that results of methods can be compared")  # fmt: skip
    for wrong in (0, -1, most + 1):
        try:
            objective.sample(net, noise, batch.cond, wrong)
        except UserError:
            continue
        except Exception as error:
            fail(f"sample with steps={wrong}", f"raises {type(error).__name__}",
                 "raise UserError: call path.check_num_steps(steps, self.max_steps) first")  # fmt: skip
        fail(f"sample with steps={wrong}", "returns samples",
             f"refuse what is not in 1..{most}: call path.check_num_steps(steps, self.max_steps) first")  # fmt: skip


def check_randomness(objective: Objective, net: Network, noise: Tensor, batch: Batch) -> None:
    """Check that samples depend on no global generator, and move none."""
    steps, made = min(3, objective.max_steps), []
    for seed in (1, 2):
        seed_all(seed)
        before = torch.get_rng_state()
        made.append(_sample(objective, net, noise, batch, steps))
        change = "draw more noise from randomness.generators_of(noise), with randomness.normal_like"
        if not torch.equal(torch.get_rng_state(), before):
            fail("sample", "draws from torch's global generator", change)
    if not torch.equal(*made):
        fail("sample", "gives other samples from the same noise", change)


def check_rows(objective: Objective, net: Network, noise: Tensor, batch: Batch, *, strict: bool) -> None:
    """Check that a sample does not depend on the others of its batch."""
    steps = min(3, objective.max_steps)
    together = _sample(objective, net, noise, batch, steps)
    for row in range(2):
        one = slice(row, row + 1)
        alone = _sample(objective, net, noise[one], batch[one], steps)
        if differ(alone, together[one], 1e-11 if strict else 1e-2):
            fail("sample", f"gives row {row} of a batch another sample than alone",
                 "compute nothing over the batch: a sample follows from its noise and conditions")  # fmt: skip


def check_noise(objective: Objective, net: Network, noise: Tensor, batch: Batch) -> None:
    """Check `is_generative`: whether samples of the same conditions differ by their noise."""
    same = Batch(batch.data, {name: value[:1].expand_as(value) for name, value in batch.cond.items()})
    made = _sample(objective, net, noise, same, 1)
    differs = not torch.equal(made, made[:1].expand_as(made))
    if differs != objective.is_generative:
        found = "differ by their noise" if differs else "do not differ by their noise"
        fail(f"{type(objective).__name__}.is_generative", f"is {objective.is_generative}, and samples {found}",
             f"set it to {differs}, or start from the noise")  # fmt: skip


def check_guidance(objective: Objective, net: Network, noise: Tensor, batch: Batch) -> None:
    """Check that guidance 0 leaves the conditions out, and that other weights go beyond them."""
    other = Batch(batch.data, {name: value.roll(1, 0) for name, value in batch.cond.items()})
    kept, changed = (_sample(objective, net, noise, each, 1) for each in (batch, other))
    if not differ(kept, changed, 1e-6):
        return  # a network that ignores its conditions; `check_network` says so
    without = [_sample(objective, net, noise, each, 1, 0.0) for each in (batch, other)]
    change = "use sampling.euler(..., guidance=guidance), or sampling.guided"
    if differ(without[0], without[1]):
        fail("sample with guidance=0", "still depends on the conditions", change)
    if not differ(kept, _sample(objective, net, noise, batch, 1, 1.5), 1e-6):
        fail("sample with guidance=1.5", "gives the same as guidance=1", change)
