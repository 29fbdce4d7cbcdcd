"""FID and its relatives at each number of steps, over as many samples as asked for, and what tells usual mistakes."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import UserError
from ..metrics import frechet_distance, gaussian_fit, kernel_distance, manifold_measures
from ..system.distributed import ALONE, Processes
from ..system.machine import machine
from ..system.progress import progress
from ..text import format_steps, format_table
from .fid_reference import Extractor, Reference, deviation
from .fid_samples import Made, Maker
from .results import precision_of
from .results import table as table_of

NEIGHBOURS_AMONG = 10_000
"""samples, and real images, among which neighbourhoods are looked at"""
USUAL = 50_000
"""samples that the literature takes"""
FAR, TIMES = 32.0, 1.5
"""a mean of pixels that is so far from the real images' one, or a deviation so many times it, looks like a mistake"""

Check = dict[str, Any]
"""{"what": its name, "found": in words, "ok": whether nothing looks wrong, "steps": the budgets looked at}"""


def evaluate_fid(
    maker: Maker,
    reference: Reference,
    budgets: Sequence[int],
    num: int,
    *,
    batch_size: int = 250,
    processes: Processes = ALONE,
    quiet: bool = False,
) -> dict[str, Any] | None:
    """Make samples 0 to num - 1 at each budget, as far as they are not there, and measure them.

    Returns, in the first process only, a JSON-able dict as `evaluate` does, with "parameters", "weights",
    "autoencoder", "reference" and "checks" besides. Under "steps", for each budget in the order given:

    - fid: Fréchet distance of Gaussians fitted to the features of the samples and of the reference;
    - kid, precision, recall, density, coverage: where the reference has features; neighbourhoods are those among 10,000
      of its images, drawn at random, and the first 10,000 samples;
    - seconds: spent on generating, by all processes together;
    - guidance: that of the samples.

    Args:
        maker: what makes the samples and their features, and where they are kept.
        reference: of real images.
        budgets: numbers of sampling steps.
        num: samples at each.
        batch_size: samples made at once.
        processes: those that share the work; all must see the maker's folder.
        quiet: no progress bar.

    Raises:
        UserError: a number out of its range, samples that are not finite, a task that is not one of images, or features
            of another kind than the reference's.
    """
    maker.check(num, batch_size)
    check_reference(reference, maker.network, num)
    make_samples(maker, budgets, num, batch_size, processes, quiet=quiet)
    return measure_samples(maker, reference, budgets, num) if processes.main else None


def check_reference(reference: Reference, network: Extractor, num: int) -> None:
    """Raise UserError where features are not of the same kind; warn where there are too few of them.

    With no more points than features a covariance is singular, and FID comes out far too high.
    """
    if len(reference.mu) != network.size:
        raise UserError(
            f"{reference.source} holds moments of {len(reference.mu)} features, and the network makes {network.size}: "
            f"make statistics with `shortcut fid-stats`, or give their network with --inception"
        )
    if reference.network not in (None, network.fingerprint):
        raise UserError(
            f"{reference.source} was made with another Inception network: give that one with --inception, "
            f"or make statistics anew with `shortcut fid-stats`"
        )
    for what, count in (("samples", num), ("reference images", reference.count)):
        if count is not None and count <= network.size:
            warnings.warn(
                f"FID with {count:,} {what} comes out too high, as there are {network.size:,} features: "
                f"take at least {network.size + 1:,}, and {USUAL:,} samples to compare with others",
                stacklevel=2,
            )


def make_samples(
    maker: Maker, budgets: Sequence[int], num: int, batch_size: int, processes: Processes, *, quiet: bool = False
) -> None:
    """Make what is missing of `num` samples at each budget, batch i by process i mod world; then wait for all."""
    stores = {steps: maker.store(steps) for steps in budgets}
    missing = {steps: store.missing(num) for steps, store in stores.items()}
    processes.wait()  # nobody begins before all have seen what is missing
    # A pass is one through the model's network; one more stands for Inception.
    total = sum((steps + 1) * num for steps in budgets)
    begun = total - sum((steps + 1) * len(rows) for steps, rows in missing.items())
    hidden = quiet or not processes.main
    with progress(total, "pass", quiet=hidden, initial=begun, unit_scale=True) as bar:
        for steps, rows in missing.items():
            bar.set_description(format_steps(steps))
            batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
            for number, batch in enumerate(processes.share(batches)):
                maker.make(stores[steps], steps, batch)
                together = batches[number * processes.world : (number + 1) * processes.world]
                bar.update(sum(map(len, together)) * (steps + 1))  # the others are about as far
    processes.wait()


def measure_samples(maker: Maker, reference: Reference, budgets: Sequence[int], num: int) -> dict[str, Any]:
    """Measure samples that are there already: see `evaluate_fid`."""
    model, rows, found = maker.model, {}, {}
    facts = {"source": reference.source, "count": reference.count, "sha256": reference.fingerprint}
    for steps in budgets:
        made = maker.store(steps).read(num)
        rows[str(steps)] = measures(made, reference) | {"seconds": made.seconds, "guidance": maker.guidance}
        found[steps] = made._replace(features=made.features[:0])  # the largest part, and done with
    return {
        "recipe": model.recipe,
        "step": model.step,
        "num": num,
        "seed": maker.seed,
        "guidance": maker.guidance,
        "precision": model.precision,
        "date": datetime.date.today().isoformat(),
        "machine": machine(model.device),
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "weights": maker.weights,
        "autoencoder": maker.autoencoder,
        "reference": facts | {"network": maker.network.fingerprint},
        "steps": rows,
        "checks": checks(maker, found, reference, num, min(row["fid"] for row in rows.values())),
    }


def measures(made: Made, reference: Reference) -> dict[str, float]:
    """Of samples against the reference, as far as it knows."""
    found = {"fid": frechet_distance(*gaussian_fit(made.features), reference.mu, reference.sigma)}
    real = reference.some(NEIGHBOURS_AMONG)
    if reference.features is not None and real is not None and min(len(made.features), len(real)) > 1:
        found["kid"] = kernel_distance(reference.features, made.features)
        found |= manifold_measures(real, made.features[:NEIGHBOURS_AMONG])
    return found


def checks(maker: Maker, found: dict[int, Made], reference: Reference, num: int, best: float) -> list[Check]:
    """What tells the usual mistakes: too few samples, one image many times, a wrong range or size, a wrong reference.

    best: the lowest FID of all budgets.
    """
    distinct = [len(np.unique(made.digests)) for made in found.values()]
    lines = [
        ("samples", f"{num:,} of {num:,} at each number of steps, all finite", True),
        ("distinct", " / ".join(f"{count:,}" for count in distinct), min(distinct) > 0.99 * num),
        _pixels({steps: deviation(made.light.mean(0)) for steps, made in found.items()}, reference.pixels),
    ]
    if reference.image_shape is not None:
        shapes = maker.image_shape, reference.image_shape
        text = "; the reference's ".join(" x ".join(map(str, shape)) for shape in shapes)
        lines.append(("size", text, shapes[0] == shapes[1]))
    sizes, size = [num, *filter(None, [reference.count])], maker.network.size
    of = "an unknown number of" if reference.count is None else f"{reference.count:,}"
    lines.append(("enough", f"{num:,} samples and {of} reference images for {size:,} features", min(sizes) > size))
    least = floor(reference, num)
    if least is not None:
        text = f"FID {least:.4g} for {num:,} of the reference's own images: samples cannot do better"
        lines.append(("floor", text, least <= best))
    lines.append(("weights", f"averaged (EMA), of training step {maker.model.step:,}", True))
    return [{"what": what, "found": text, "ok": bool(ok), "steps": list(found)} for what, text, ok in lines]


def floor(reference: Reference, num: int) -> float | None:
    """FID of as many of the reference's own images, drawn at random; None where features of so many are not kept.

    Fewer would not do: their FID comes out higher than that of `num` good samples.
    """
    real = reference.some(num)
    if real is None or not len(real) == num > 1:
        return None
    return frechet_distance(*gaussian_fit(real), reference.mu, reference.sigma)


def _pixels(found: dict[int, tuple[float, float]], real: tuple[float, float] | None) -> tuple[str, str, bool]:
    """Mean and deviation of the pixels: a range taken wrong, or a decoder, shows here first."""
    text = "mean and deviation " + " / ".join(f"{mean:.0f}, {spread:.0f}" for mean, spread in found.values())
    if real is None:
        return "pixels", text, all(spread > 0 for _, spread in found.values())
    near = all(
        abs(mean - real[0]) <= FAR and real[1] / TIMES <= spread <= real[1] * TIMES for mean, spread in found.values()
    )
    return "pixels", f"{text}; the reference's {real[0]:.0f}, {real[1]:.0f}", near


def short_count(count: int) -> str:
    """50000 -> 50k, 4096 -> 4096: the number that stands beside FID."""
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)


def report(result: dict[str, Any]) -> str:
    """The result of `measure_samples` as text: a row a budget, and the checks."""
    guided = f"guidance {result['guidance']:g}"
    head = (
        f"{result['num']:,} samples a row, {guided}, seed {result['seed']}, training step {result['step']:,}, "
        f"{precision_of(result)}"
    )
    name = f"FID-{short_count(result['num'])}"
    rows = {
        steps: {name if key == "fid" else key: value for key, value in row.items() if key != "guidance"}
        for steps, row in result["steps"].items()
    }
    lines = [["ok" if check["ok"] else "LOOK", check["what"], check["found"]] for check in result["checks"]]
    checked = format_table(lines, ["left"] * 3)
    return "\n".join([head, table_of(result | {"steps": rows}), "", "Sanity checking", checked])
