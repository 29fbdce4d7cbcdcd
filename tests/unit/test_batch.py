"""What `Objective.losses` says of a batch, or of a network, that cannot be trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from helpers.oracle import GaussianOracle
from shortcut_models.base import Batch, Label, Losses, Objective
from shortcut_models.batch import without_padding
from shortcut_models.errors import UserError
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import OBJECTIVES, Shortcut

X = torch.randn(4, 2)
NETWORK = MLPConfig(width=8, depth=1).build((2,), {"label": Label(3)})
LABEL = torch.tensor([0, 1, 2, 0])


@pytest.mark.usefixtures("annotations_unchecked")
@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (lambda: X, r"batch must be a Batch, not Tensor: pass Batch\(data, \{name: condition\}\)"),
        (lambda: (X, LABEL), "batch must be a Batch, not tuple"),
        (lambda: Batch(X.numpy()), "data of a batch must be a tensor, not ndarray: use torch.as_tensor"),
        (lambda: Batch(X.tolist()), "data of a batch must be a tensor, not list"),
        (lambda: Batch(X, {"label": LABEL.tolist()}), "label of a batch must be a tensor, not list"),
        (lambda: Batch(X, {"label": np.zeros(4)}), "label of a batch must be a tensor, not ndarray"),
        (lambda: Batch(X, {"label": LABEL[:3]}), "label of a batch has 3 rows, and data has 4: pass one row for each"),
        (lambda: Batch(torch.tensor(1.0)), "data of a batch has no axis"),
        (lambda: Batch(X.to(torch.uint8)), "data of a batch must be floats, not torch.uint8: encode it"),
        (lambda: Batch(X.to("meta")), r"data of a batch is on meta, and the network on cpu: use batch.to\(device\)"),
        (lambda: Batch(X, {"label": LABEL.to("meta")}), "label of a batch is on meta, and the network on cpu"),
    ],
)
def test_a_batch_that_is_wrong(batch: Any, message: str) -> None:
    for objective in (cls() for cls in OBJECTIVES.values()):
        with pytest.raises(UserError, match=message):
            objective.losses(NETWORK, NETWORK, batch())


@pytest.mark.usefixtures("annotations_unchecked")
def test_a_module_that_is_not_a_network() -> None:
    with pytest.raises(UserError, match=r"net must be a Network, not Linear: wrap it with as_network\(module, cond"):
        Shortcut().losses(nn.Linear(2, 2), NETWORK, Batch(X))  # type: ignore[arg-type]


@pytest.mark.usefixtures("annotations_unchecked")
def test_objectives_from_outside_are_checked_too_and_may_be_derived_from() -> None:
    @dataclass(frozen=True)
    class Own(Objective):
        max_steps: int = 1

        def losses(self, net: Any, target_net: Any, batch: Batch, **context: Any) -> Losses:
            """Return zeros."""
            return Losses(torch.zeros(len(batch)), {})

        def sample(self, *given: Any, **options: Any) -> Any:
            raise NotImplementedError

    class Derived(Own):
        def losses(self, net: Any, target_net: Any, batch: Batch, **context: Any) -> Losses:
            return super().losses(net, target_net, batch, **context)

    for objective in (Own(), Derived()):
        assert len(objective.losses(GaussianOracle(torch.zeros(2), 1.0), NETWORK, Batch(X)).per_example) == 4
        with pytest.raises(UserError, match="batch must be a Batch, not list"):
            objective.losses(NETWORK, NETWORK, [X])  # type: ignore[arg-type]
    assert Own.losses.__doc__ == "Return zeros."
    with pytest.raises(TypeError, match="abstract"):
        type("Partial", (Objective,), {"sample": Own.sample})()


def test_padding_is_set_to_0_whatever_it_holds() -> None:
    x, mask = torch.tensor([[1.0, torch.nan, 3.0]]), torch.tensor([[1.0, 0.0, 1.0]])
    assert without_padding(x, {"mask": mask}).tolist() == [[1, 0, 3]]
    assert without_padding(x, {}) is x
