"""Models of Hugging Face's diffusers as networks: what they lack is the step size."""

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from ..base import Cond, Condition, Label, Network, T, X
from ..errors import UserError
from .layers import ConditionEmbedding, StepSizeEmbedding
from .wrapped import ForeignNetwork

TIMESTEPS = 1000  # of the noise schedules that their time embeddings are made for
LABEL = "label"


class _Kind(NamedTuple):
    """What differs between their models."""

    embedder: str  # name of the modules that embed the time, in which the step size is added
    how: str  # a label reaches the model: as "class", as "class or none", or as a "token" of its cross-attention
    classes: str  # the option of the model that says how many class labels it has


KINDS = {
    "UNet2DModel": _Kind("time_embedding", "class or none", "num_class_embeds"),
    "DiTTransformer2DModel": _Kind("timestep_embedder", "class", "num_embeds_ada_norm"),
    "UNet2DConditionModel": _Kind("time_embedding", "token", "cross_attention_dim"),
}


def from_diffusers(model: nn.Module, conditions: Mapping[str, Condition] | None = None) -> Network:
    """Return a model of diffusers as a network that is conditioned on the step size as well.

    The model gets the timestep 1000 (1 - t), so that its last one is noise, and returns the velocity from noise to
    data. An embedding of d is added to that of the time, and is silent at the start: the output of a new network is
    the model's own at every d, and training changes that.

    Args:
        model: a `UNet2DModel`, which takes a label or no conditions; a `DiTTransformer2DModel`, which takes a label; or
            a `UNet2DConditionModel`, which takes all kinds of conditions, as one token of its cross-attention. It is
            not copied.
        conditions: those of the task, by name.

    Raises:
        UserError: another model, or one whose options do not fit the conditions.
    """
    return DiffusersNetwork(model, dict(conditions or {}))


class SilentStepSize(nn.Module):
    """An embedding of d that a hook adds to the output of other embeddings; 0 at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = StepSizeEmbedding(width)
        for parameter in list(self.embed.mlp.parameters())[-2:]:  # of its last layer
            nn.init.zeros_(parameter)
        self.passes = threading.local()  # the embedding of the pass that a thread is in
        self.last: Tensor | None = None  # that of the last pass, for gradient checkpointing, which repeats it elsewhere

    def add(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        """Return the output with the embedding of the step size of this pass; a hook of `module`."""
        value = getattr(self.passes, "value", self.last)
        return None if value is None else output + value.to(output.dtype)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in self.__dict__.items() if name != "passes"}
        return kept | {"last": None}  # a copy is within no pass

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.passes = threading.local()


class DiffusersNetwork(ForeignNetwork):
    """The network of `from_diffusers`; `model` is the one of diffusers, with its own names of its weights."""

    def __init__(self, model: nn.Module, conditions: Mapping[str, Condition]) -> None:
        super().__init__()
        self.model: Any = model
        self.name = type(model).__name__
        self.conditions, self.takes = dict(conditions), tuple(conditions)
        if self.name not in KINDS:
            raise UserError(f"{self.name} is not among {', '.join(KINDS)}: wrap it in a module called as net(x, t, d)")
        form = KINDS[self.name]
        config: Any = model.config
        if config.out_channels not in (None, config.in_channels):
            raise UserError(
                f"the {self.name} has {config.in_channels} in_channels and {config.out_channels} out_channels: a "
                f"velocity has as many as the data, so build it with out_channels={config.in_channels}"
            )
        embedders: list[Any] = [
            module for name, module in model.named_modules() if name.split(".")[-1] == form.embedder
        ]
        self.step_size = SilentStepSize(embedders[0].linear_2.out_features)
        for embedder in embedders:
            embedder.register_forward_hook(self.step_size.add)
        self.tokens = None
        self.classes = 0
        if form.how == "token":
            self.tokens = ConditionEmbedding(conditions, config.cross_attention_dim)
        else:
            self.classes = self._classes(form, conditions)

    def _classes(self, form: _Kind, conditions: Mapping[str, Condition]) -> int:
        """Return the number of classes; the class after the last one stands for none."""
        others = [name for name, condition in conditions.items() if not isinstance(condition, Label) or name != LABEL]
        if others:
            raise UserError(f"a {self.name} does not take {others[0]!r}, only a label: use a UNet2DConditionModel")
        label = conditions.get(LABEL)
        count = label.count if isinstance(label, Label) else 0
        has = getattr(self.model.config, form.classes) or 0
        # A DiT has a class for no label beside its own; a U-Net counts it among them.
        needed = count if form.how == "class" else (count + 1) * bool(count)
        if has < needed:
            raise UserError(f"the {self.name} has {has} {form.classes}, and the task {count} classes: use {needed}")
        if has and not count and form.how != "class":
            raise UserError(f"the {self.name} has {has} {form.classes}, and the task no label: build it without")
        for module in self.model.modules():
            if type(module).__name__ == "LabelEmbedding":
                module.dropout_prob = 0.0  # the objective decides which rows lose their label
        return count

    def encode(self, cond: Cond, drop: Bool[Tensor, "b"] | None = None) -> Any:
        if self.tokens is not None:
            return self.tokens(cond, drop)
        if not self.classes:
            return None
        return cond[LABEL] if drop is None else cond[LABEL].masked_fill(drop, self.classes)

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        options: dict[str, Any] = {}
        if self.tokens is not None:
            width = self.model.config.cross_attention_dim
            options["encoder_hidden_states"] = (x.new_zeros(len(x), width) if context is None else context)[:, None]
        elif context is not None or KINDS[self.name].how == "class":
            nothing = torch.full((len(x),), self.classes, device=x.device)
            options["class_labels"] = nothing if context is None else context
        step_size = self.step_size
        step_size.passes.value = step_size.embed(d)
        step_size.last = step_size.passes.value if getattr(self.model, "is_gradient_checkpointing", False) else None
        try:
            velocity = self.model(x, TIMESTEPS * (1 - t), return_dict=False, **options)[0]
        finally:
            del step_size.passes.value
        if velocity.shape != x.shape:
            found, wanted = list(velocity.shape), list(x.shape)
            raise UserError(f"the {self.name} returns {found} for x {wanted}: build it for data of this size")
        return velocity.to(x.dtype)
