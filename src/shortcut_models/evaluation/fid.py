"""FID, KID, precision and recall at each number of steps, and checks that show the usual mistakes."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import UserError
from ..metrics import frechet_distance, gaussian_fit, kernel_distance, manifold_measures
from ..system.distributed import ALONE, Processes
from ..system.progress import progress
from ..text import format_steps, format_table
from .evaluate import circumstances
from .fid_reference import Extractor, Reference, deviation
from .fid_samples import FidSampler, SampleFeatures
from .results import precision_of, table

NEIGHBOURS_AMONG = 10_000  # samples, and real images, that neighbourhoods are computed among
USUAL = 50_000  # samples in the literature
FAR, TIMES = 32.0, 1.5  # differences from real pixels that look like a mistake: of the mean, and a ratio of deviations

Check = dict[str, Any]
"""{"what": its name, "found": in words, "ok": whether nothing looks wrong, "steps": the numbers of steps}"""


def evaluate_fid(
    sampler: FidSampler,
    reference: Reference,
    step_counts: Sequence[int],
    num: int,
    *,
    batch_size: int = 250,
    processes: Processes = ALONE,
    quiet: bool = False,
) -> dict[str, Any] | None:
    """Make samples 0 to num - 1 at each number of steps, unless they are in the sampler's folder, and measure them.

    Returns, in the first process only, a JSON-able dict as `evaluate` does, and in it "parameters", "weights",
    "autoencoder", "reference" and "checks". Under "steps", for each number of steps in the order given:

    - fid: Fréchet distance of Gaussians fitted to the features of the samples and of the reference;
    - kid, precision, recall, density, coverage: if the reference has features; neighbourhoods are those among 10,000
      of its images, drawn at random, and the first 10,000 samples;
    - seconds: time spent generating, summed over the processes;
    - guidance: the guidance of the samples.

    Raises UserError if a number is out of its range, samples are not finite, the task is not one of images, or the
    features are of another kind than the reference's.
    """
    sampler.check(num, batch_size)
    check_reference(reference, sampler.network, num)
    make_samples(sampler, step_counts, num, batch_size, processes, quiet=quiet)
    return measure_samples(sampler, reference, step_counts, num) if processes.main else None


def check_reference(reference: Reference, network: Extractor, num: int) -> None:
    """Raise UserError if features are of another kind than the reference's, and warn if there are too few of them."""
    if len(reference.mu) != network.size:
        raise UserError(
            f"{reference.source} holds moments of {len(reference.mu)} features, and the network makes {network.size}: "
            f"make statistics with `shortcut fid-stats`, or pass their network with --inception"
        )
    if reference.network not in (None, network.fingerprint):
        raise UserError(
            f"{reference.source} was made with another Inception network: pass that one with --inception, "
            f"or make new statistics with `shortcut fid-stats`"
        )
    for what, count in (("samples", num), ("reference images", reference.count)):
        if count is not None and count <= network.size:  # a covariance is singular
            warnings.warn(
                f"FID with {count:,} {what} is too high, as there are {network.size:,} features: "
                f"use at least {network.size + 1:,}, and {USUAL:,} samples to compare with published results",
                stacklevel=2,
            )


def make_samples(
    sampler: FidSampler, step_counts: Sequence[int], num: int, batch_size: int, processes: Processes, *, quiet: bool
) -> None:
    """Make the missing ones of `num` samples at each number of steps, batch i in process i mod world; then wait."""
    caches = {steps: sampler.cache(steps) for steps in step_counts}
    missing = {steps: cache.missing(num) for steps, cache in caches.items()}
    processes.wait()  # no process writes before each has seen what is missing
    # A pass is one through the model's network; one more stands for Inception.
    total = sum((steps + 1) * num for steps in step_counts)
    begun = total - sum((steps + 1) * len(rows) for steps, rows in missing.items())
    with progress(total, "pass", quiet=quiet or not processes.main, initial=begun, unit_scale=True) as bar:
        for steps, rows in missing.items():
            bar.set_description(format_steps(steps))
            batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
            for number, batch in enumerate(processes.share(batches)):
                sampler.make(caches[steps], steps, batch)
                together = batches[number * processes.world : (number + 1) * processes.world]
                bar.update(sum(map(len, together)) * (steps + 1))  # the other processes are about as far
    processes.wait()


def measure_samples(sampler: FidSampler, reference: Reference, step_counts: Sequence[int], num: int) -> dict[str, Any]:
    model, rows, found = sampler.model, {}, {}
    facts = {"source": reference.source, "count": reference.count, "sha256": reference.fingerprint}
    for steps in step_counts:
        made = sampler.cache(steps).read(num)
        rows[str(steps)] = measures(made, reference) | {"seconds": made.seconds, "guidance": sampler.guidance}
        found[steps] = made._replace(features=made.features[:0])  # the largest part, not needed any longer
    return circumstances(model, num, sampler.seed, sampler.guidance) | {
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "weights": sampler.weights,
        "autoencoder": sampler.autoencoder,
        "reference": facts | {"network": sampler.network.fingerprint},
        "steps": rows,
        "checks": checks(sampler, found, reference, num, min(row["fid"] for row in rows.values())),
    }


def measures(made: SampleFeatures, reference: Reference) -> dict[str, float]:
    """Return the metrics of samples that the reference has the statistics for."""
    found = {"fid": frechet_distance(*gaussian_fit(made.features), reference.mu, reference.sigma)}
    real = reference.some(NEIGHBOURS_AMONG)
    if reference.features is not None and real is not None and min(len(made.features), len(real)) > 1:
        found["kid"] = kernel_distance(reference.features, made.features)
        found |= manifold_measures(real, made.features[:NEIGHBOURS_AMONG])
    return found


def checks(
    sampler: FidSampler, found: dict[int, SampleFeatures], reference: Reference, num: int, best: float
) -> list[Check]:
    """Return checks for the usual mistakes; best: the lowest FID of all numbers of steps."""
    distinct = [len(np.unique(made.digests)) for made in found.values()]
    lines = [
        ("samples", f"{num:,} of {num:,} at each number of steps, all finite", True),
        ("distinct", " / ".join(f"{count:,}" for count in distinct), min(distinct) > 0.99 * num),
        _pixels([deviation(made.pixel_stats.mean(0)) for made in found.values()], reference.pixels),
    ]
    if reference.image_shape is not None:
        shapes = sampler.image_shape, reference.image_shape
        text = "; the reference's ".join(" x ".join(map(str, shape)) for shape in shapes)
        lines.append(("size", text, shapes[0] == shapes[1]))
    sizes, size = [num, *filter(None, [reference.count])], sampler.network.size
    of = "an unknown number of" if reference.count is None else f"{reference.count:,}"
    lines.append(("enough", f"{num:,} samples and {of} reference images for {size:,} features", min(sizes) > size))
    least = real_vs_real_fid(reference, num)
    if least is not None:
        text = f"FID {least:.4g} for {num:,} of the reference's own images: samples cannot do better"
        lines.append(("real-vs-real", text, least <= best))
    lines.append(("weights", f"averaged (EMA), of training step {sampler.model.step:,}", True))
    return [{"what": what, "found": text, "ok": bool(ok), "steps": list(found)} for what, text, ok in lines]


def real_vs_real_fid(reference: Reference, num: int) -> float | None:
    """Return the FID of `num` of the reference's own images, drawn at random; None if it has fewer features."""
    real = reference.some(num)
    if real is None or not len(real) == num > 1:
        return None
    return frechet_distance(*gaussian_fit(real), reference.mu, reference.sigma)


def _pixels(found: list[tuple[float, float]], real: tuple[float, float] | None) -> tuple[str, str, bool]:
    """Check the mean and deviation of the pixels, which show a wrong range or decoder first."""
    text = "mean and deviation " + " / ".join(f"{mean:.0f}, {spread:.0f}" for mean, spread in found)
    if real is None:
        return "pixels", text, all(spread > 0 for _, spread in found)
    near = all(abs(mean - real[0]) <= FAR and real[1] / TIMES <= spread <= real[1] * TIMES for mean, spread in found)
    return "pixels", f"{text}; the reference's {real[0]:.0f}, {real[1]:.0f}", near


def report(result: dict[str, Any]) -> str:
    """Return the result of `measure_samples` as text: a row for each number of steps, and the checks."""
    head = (
        f"{result['num']:,} samples a row, guidance {result['guidance']:g}, seed {result['seed']}, "
        f"training step {result['step']:,}, {precision_of(result)}"
    )
    count = result["num"]
    name = f"FID-{count}" if count % 1000 else f"FID-{count // 1000}k"
    rows = {
        steps: {name if key == "fid" else key: value for key, value in row.items() if key != "guidance"}
        for steps, row in result["steps"].items()
    }
    lines = [["ok" if check["ok"] else "LOOK", check["what"], check["found"]] for check in result["checks"]]
    found = format_table(lines, ["left"] * 3)
    return "\n".join([head, table(result | {"steps": rows}), "", "Sanity checking", found])
