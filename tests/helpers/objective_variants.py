"""Every method, by default and with other options, for what all of them owe."""

from __future__ import annotations

from shortcut_models.base import Objective
from shortcut_models.objectives import (
    OBJECTIVES,
    ConsistencyDistillation,
    ConsistencyTraining,
    Diffusion,
    FlowMatching,
    LiveReflow,
    ProgressiveDistillation,
    Shortcut,
)

VARIANTS: dict[str, Objective] = {name: cls() for name, cls in OBJECTIVES.items()} | {
    "shortcut-original": Shortcut.original(),
    "shortcut-guided": Shortcut(guidance=1.5, bootstrap_fraction=0.75),
    "shortcut-unconditional": Shortcut(guidance=0.0, bootstrap_fraction=0.5, max_steps=16),
    "shortcut-paired": Shortcut(pairing="transport"),
    "flow-paired": FlowMatching(pairing="transport"),
    "flow-original": FlowMatching.original(),
    "progressive-guided": ProgressiveDistillation(guidance=2.0, max_steps=16),
    "progressive-unconditional": ProgressiveDistillation(guidance=0.0),
    "progressive-original": ProgressiveDistillation.original(),
    "consistency-distillation-guided": ConsistencyDistillation(guidance=2.0),
    "consistency-distillation-unconditional": ConsistencyDistillation(guidance=0.0),
    "consistency-training-original": ConsistencyTraining.original(),
    "live-reflow-guided": LiveReflow(guidance=2.0, self_steps=3),
    "live-reflow-unconditional": LiveReflow(guidance=0.0, bootstrap_fraction=0.3),
    "diffusion-ddpm": Diffusion(sampler="ddpm"),
    "diffusion-epsilon": Diffusion(prediction="epsilon", schedule="linear"),
}
ONE_STEP: dict[str, Objective] = {
    "shortcut-one-step": Shortcut(max_steps=1),
    "progressive-one-step": ProgressiveDistillation(max_steps=1),
    "consistency-training-one-step": ConsistencyTraining(max_steps=1),
}
