"""`check_task`: what every task owes its network, its trainer and those who judge samples."""

import math
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..base import Batch, Frames, Task
from ..config import from_dict, to_dict
from ..metrics.catalogue import metric
from ..randomness import fixed_randomness
from ..system.defaults import torch_defaults
from ..tasks import TASKS
from .devices import require_device, second_device
from .examples import check_kinds, fits, in_words
from .findings import calling, describe, differ, doubt, fail
from .task_data import check_data, check_splits

CLEARLY = 0.25
"""share by which noise must be better than real examples to count as such: they are few here"""
LARGE, SMALL = 10.0, 0.05
"""the numbers that a network sees should deviate by about 1, as the noise does: outside of this, a warning says so"""


@torch_defaults(gradients=True)
def check_task(task: Task) -> None:
    """Check a task of your own; return None if all is well.

    It reads up to 4,096 examples of each split, and looks at: the shape, the conditions and the data set; how examples
    become what the network sees, and samples the task's units; measures and pictures; what is saved with a model.

    Args:
        task: the task; `resolve` is called first.

    Raises:
        UserError: what is wrong, and what to change. What is only doubtful is a warning.
    """
    if not isinstance(task, Task):
        kind = task.__name__ if isinstance(task, type) else type(task).__name__
        fail(kind, "is not a Task", "derive it from shortcut_models.Task, and pass an instance")
    with fixed_randomness():
        check_value(task)
        with calling("resolve()", "return the task with what the data decides filled in"):
            resolved = task.resolve()
        if not isinstance(resolved, Task):
            fail("resolve()", f"returns {describe(resolved)}", "return the task")
        check_sizes(resolved)
        batch, held_out = check_data(resolved)
        check_splits(resolved)
        check_encode(resolved, held_out)
        x = check_encode(resolved, batch)
        check_conditions(resolved, batch)
        samples = check_decode(resolved, batch, x)
        check_evaluate(resolved, samples, x, batch)
        check_draw(resolved, samples)
        check_saving(resolved)


def check_value(task: Task) -> None:
    """Check that the task is a frozen dataclass, as its fields are options and part of a checkpoint."""
    name, params = type(task).__name__, getattr(type(task), "__dataclass_params__", None)
    if params is None or not params.frozen:
        fail(name, "is not a frozen dataclass", "put @dataclass(frozen=True) above the class")


def check_sizes(task: Task) -> None:
    """Check the shape of an example, and the kinds of conditions."""
    shape = task.shape
    if not isinstance(shape, tuple) or not shape or not all(isinstance(n, int) and n > 0 for n in shape):
        fail("shape", f"is {describe(shape)}", "give a tuple of whole numbers, such as (3, 32, 32), without the batch")
    check_kinds(task.conditions)


def check_encode(task: Task, batch: Batch) -> Tensor:
    """Check what the network sees, on any device, and return it."""
    before, rows = batch.data.clone(), len(batch)
    what, wanted = f"encode({describe(batch.data)})", f"float32 {[rows, *task.shape]}"
    with calling(what, "turn raw examples, as the data set gives them, into numbers of about -1 to 1"):
        x = task.encode(batch.data)
    if not isinstance(x, Tensor) or x.shape != (rows, *task.shape) or x.dtype != torch.float32:
        fail(what, f"returns {describe(x)}, not {wanted}", f"return float32 of the task's shape {task.shape}")
    if not x.isfinite().all():
        fail(what, "returns numbers that are not finite", "leave such examples out of the data, or divide by no 0")
    if not torch.equal(batch.data, before):
        fail("encode", "changes the raw examples in place", "compute new tensors: no /=, no sub_")
    spread = float(x.std())
    if not SMALL < spread < LARGE:
        doubt(
            f"encode returns numbers that deviate by {spread:.3g}, and the noise deviates by 1: scale them to about 1"
        )
    with calling("augment(x)", "return varied examples of the same shape"):
        varied = task.augment(x.clone())
    if not isinstance(varied, Tensor) or varied.shape != x.shape or varied.dtype != x.dtype:
        fail("augment(x)", f"returns {describe(varied)}, not {wanted}", "return examples of the same shape and dtype")
    with second_device("encode"):
        away = batch.data.to("meta")
        require_device("encode", task.encode(away), away.device)
    return x


def check_conditions(task: Task, batch: Batch) -> None:
    """Check that the data set gives the conditions that the task names, in training, held out, and by default."""
    rows = 8
    given = {"the data set": batch.cond, "default_cond": _default(task, rows)}
    for source, cond in given.items():
        if set(cond) != set(task.conditions):
            named = sorted(task.conditions) or "none"
            fail(source, f"gives the conditions {sorted(cond) or 'none'}, and the task names {named}",
                 "let both have the same names")  # fmt: skip
        count = len(batch) if source == "the data set" else rows
        for training in (False, True):
            with calling(f"preprocess_cond(training={training})", "take conditions as the data set gives them"):
                ready = task.preprocess_cond(cond, training=training)
            for name, kind in task.conditions.items():
                value = ready.get(name)
                if not fits(kind, value, count):
                    fail(f"{source}, with preprocess_cond,",
                         f"gives {name!r} as {_with_range(value)}, not {in_words(kind, count)}",
                         f"the task says {kind}, so change that, the data set or preprocess_cond")  # fmt: skip
                if isinstance(kind, Frames) and isinstance(value, Tensor) and float(value.abs().max()) > 1.01:
                    doubt(
                        f"images of {name!r} reach beyond [-1, 1]: let preprocess_cond divide by 127.5 and subtract 1"
                    )


def _default(task: Task, rows: int) -> Mapping[str, Any]:
    with calling("default_cond(range(8))", "return conditions for samples without any, as the data set gives them"):
        return task.default_cond(range(rows))


def _with_range(value: Any) -> str:
    if isinstance(value, Tensor) and value.numel():
        return f"{describe(value)} from {value.min().item():.4g} to {value.max().item():.4g}"
    return describe(value)


def check_decode(task: Task, batch: Batch, x: Tensor) -> np.ndarray:
    """Check that what the network makes becomes an array in the task's units, and return that of real examples."""
    what, rows = f"decode({describe(x)})", len(x)
    with calling(what, "turn what the network makes into a NumPy array: x.float().cpu().numpy()"):
        samples = task.decode(x.clone())
    if not isinstance(samples, np.ndarray) or len(samples) != rows:
        fail(what, f"returns {describe(samples)}", f"return a NumPy array with {rows} rows")
    numbers = samples.astype(np.float64)
    if not np.isfinite(numbers).all():
        fail(what, "returns numbers that are not finite", "map every number that a network may make to one that is")
    with calling("decode(noise)", "take any finite numbers: samples are not exactly as data is"):
        noise = task.decode(3 * torch.randn_like(x))
    if noise.shape != samples.shape or noise.dtype != samples.dtype:
        fail("decode(noise)", f"returns {describe(noise)}, and {describe(samples)} of data", "return the same kind")
    if differ(x[:1], x[1:2]) and (numbers == numbers[0]).all():
        fail("decode(x)", "returns the same for all examples", "let it follow x")
    raw = batch.data.double().reshape(rows, -1)
    if raw.shape[1] == numbers[0].size:
        made = torch.from_numpy(numbers).reshape(rows, -1)
        if differ(made.sort(1).values, raw.sort(1).values, 1e-3):
            doubt(
                "decode(encode(raw)) has as many numbers as raw, and others: if both are in the same units, one of "
                "encode and decode is not the inverse of the other"
            )
    with second_device("decode"):
        task.decode(x.to("meta"))
    return samples


def check_evaluate(task: Task, samples: np.ndarray, x: Tensor, batch: Batch) -> None:
    """Check that measures have names, and values that are floats, whose better end is at real data."""
    label = batch.cond.get("label")
    given = np.full(len(samples), -1) if label is None else label.numpy()
    for labels in (given, np.full(len(samples), -1)):
        found = _measures(task, samples, labels)
    found = _measures(task, samples, given)
    if task.primary_metric and task.primary_metric not in found:
        fail(f"primary_metric {task.primary_metric!r}", f"is not among the measures {', '.join(found) or '(none)'}",
             "name one that evaluate returns")  # fmt: skip
    unknown = [name for name in found if not metric(name).better and metric(name).is_quality]
    if unknown:
        doubt(
            f"which way {unknown[0]!r} is better is not known, so compare marks no winner by it: add a Metric to "
            f"metrics.catalogue.METRICS"
        )
    with calling("evaluate_chance(noise, labels)", "return what evaluate says of noise"):
        chance = task.evaluate_chance(torch.randn_like(x), given)
    for name, value in found.items():
        other, about = chance.get(name, math.nan), metric(name)
        worse = value - other if about.better == "lower" else other - value
        if about.better and about.ranks_methods and worse > CLEARLY * max(abs(value), abs(other)):
            doubt(
                f"by {name!r}, of which {about.direction}, noise ({other:.3g}) is better than real examples "
                f"({value:.3g}): look at evaluate and decode"
            )


def _measures(task: Task, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    what = f"evaluate({describe(samples)}, labels [{len(labels)}])"
    some = []
    for _ in range(2):
        with calling(what, "take decoded samples, and labels that are -1 where there is none"):
            some.append(task.evaluate(samples, labels))
    found = some[0]
    if not isinstance(found, dict):
        fail(what, f"returns {describe(found)}", "return a dict from names to floats")
    for name, value in found.items():
        if not isinstance(name, str) or type(value) is not float:
            fail(what, f"returns {name!r}: {describe(value)}", "return a dict from names to floats: float(value)")
        if math.isinf(value):
            fail(what, f"returns {name!r}: {value}", "return a finite number, or NaN where there is none")
    if any(value != some[1].get(name) for name, value in found.items() if not math.isnan(value)):
        fail(what, "returns other measures the second time", "draw from a generator with a fixed seed")
    return found


def check_draw(task: Task, samples: np.ndarray) -> None:
    """Check that samples become one picture."""
    for count in (1, 5):
        what = f"draw({describe(samples[:count])}, columns=4)"
        with calling(what, "draw decoded samples as one picture, however many there are"):
            picture = task.draw(samples[:count], 4)
        if not isinstance(picture, Image.Image):
            fail(what, f"returns {describe(picture)}", "return a PIL image")


def check_saving(task: Task) -> None:
    """Check that the task can be sent to other processes, and rebuilt from a checkpoint."""
    name = type(task).__name__
    try:
        same = pickle.loads(pickle.dumps(task)) == task
    except Exception as error:
        doubt(f"{name} cannot be sent to other processes: {error}: define its class in a module, not in a function")
        same = True
    if not same:
        doubt(f"{name} is not equal to its copy in another process: compare by its fields, leave eq=True")
    if type(task) in TASKS.values():
        with calling(f"from_dict({name}, to_dict(task))", "give it fields of plain values: numbers, text, tuples"):
            rebuilt = from_dict(type(task), to_dict(task))
        if rebuilt != task:
            fail(f"from_dict({name}, to_dict(task))", "is not equal to the task",
                 "give it fields of plain values: numbers, text, tuples")  # fmt: skip
