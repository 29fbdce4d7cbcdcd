"""Runs that begin with the weights of a trained model: at first, the network is that model, for every step size."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from helpers.runs import DIGITS, NETWORK, assert_refused, shortcut, steps_of, tensors, train
from shortcut_models import Label, Model, Network, NetworkConfig, Objective, UserError, load
from shortcut_models.networks import DiTConfig, MLPConfig
from shortcut_models.objectives import BehaviourCloning, FlowMatching, Reflow, Shortcut, TwoModel
from shortcut_models.tasks import ImportedModel
from shortcut_models.training.warm_start import load_initial_weights

SHAPE, CONDITIONS = (2, 4, 4), {"label": Label(3)}
SMALL = DiTConfig(width=16, depth=2, heads=2, patch_size=2)
STEP_SIZES = (0.0, 1 / 128, 1 / 4, 1.0)


def trained(config: NetworkConfig, objective: Objective, classes: int = 3) -> Model:
    """A model with weights that are all random, as those of none is after training."""
    network = config.build(SHAPE, {"label": Label(classes)} if classes else {})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3)
    return Model(network, objective, ImportedModel(SHAPE, classes))


def begun(config: NetworkConfig, model: Model) -> Network:
    network = config.build(SHAPE, CONDITIONS)
    load_initial_weights(network, Shortcut(), model)
    return network


def answers(network: Network, d: float) -> torch.Tensor:
    """Velocities of the same few points, conditioned on a step size d."""
    draw = torch.Generator().manual_seed(0)
    x, t = torch.randn(3, *SHAPE, generator=draw), torch.tensor([0.0, 0.25, 0.75])
    with torch.no_grad():
        return network(x, t, torch.full((3,), d), network.encode({"label": torch.arange(3)}))


@pytest.mark.parametrize("config", [SMALL, MLPConfig(width=16, depth=2), DiTConfig(16, 2, 2, 2, variant="original")])
@pytest.mark.parametrize(
    ("objective", "conditioned_step_size"),
    [
        (FlowMatching(), 0.0),
        (FlowMatching.original(), 1.0),
        (Reflow(), 0.0),
        (TwoModel(), 1.0),
        (BehaviourCloning(), 1.0),
    ],
)
def test_at_first_the_network_is_the_given_one_for_every_step_size(
    config: NetworkConfig, objective: Objective, conditioned_step_size: float
) -> None:
    model = trained(config, objective)
    network, truth = begun(config, model), answers(model.network, conditioned_step_size)
    assert not torch.allclose(answers(model.network, 0.25), truth)
    for d in STEP_SIZES:
        torch.testing.assert_close(answers(network, d), truth, rtol=1e-4, atol=1e-5)  # to rounding
        assert torch.equal(answers(network, d), answers(network, conditioned_step_size))


def test_the_step_size_is_heard_again_as_soon_as_it_learns() -> None:
    network = begun(SMALL, trained(SMALL, FlowMatching()))
    x, t, d = torch.randn(3, *SHAPE), torch.full((3,), 0.5), torch.tensor([0.0, 0.25, 1.0])
    network(x, t, d, network.encode({"label": torch.arange(3)})).square().sum().backward()
    gradient = network.embed.level[-1].weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_a_model_that_knows_step_sizes_keeps_them() -> None:
    model = trained(SMALL, Shortcut())
    network = begun(SMALL, model)
    for d in STEP_SIZES:
        assert torch.equal(answers(network, d), answers(model.network, d))


def test_tables_of_other_classes_are_left_out_and_named() -> None:
    model = trained(SMALL, FlowMatching(), classes=5)
    with pytest.warns(UserWarning, match=r"leaves conditions\.embed\.label\.weight to be learned from the start"):
        network = begun(SMALL, model)
    assert torch.equal(network.get_parameter("proj_in.weight"), model.network.get_parameter("proj_in.weight"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = SMALL.build(SHAPE, {})
        load_initial_weights(plain, Shortcut(), model)  # what a table says of labels is not missed where there are none


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DiTConfig(width=16, depth=3, heads=2, patch_size=2), "has depth 3, not 2: pass --network.depth 3"),
        (DiTConfig(width=16, depth=2, heads=4, patch_size=2), "has heads 4, not 2: pass --network.heads 4"),
        (DiTConfig(16, 2, 2, 2, variant="original"), "has variant original, not ours"),
        (MLPConfig(width=16, depth=2), "is of another kind or size"),
    ],
)
def test_other_networks_are_refused(config: NetworkConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        begun(SMALL, trained(config, FlowMatching()))


def test_other_channels_are_refused() -> None:
    model = trained(SMALL, FlowMatching())
    with pytest.raises(UserError, match=r"another kind or size \(proj_in.weight of shape \(16, 8\) and \(16, 12\)\)"):
        load_initial_weights(SMALL.build((3, 4, 4), CONDITIONS), Shortcut(), model)


def test_methods_with_a_teacher_are_refused() -> None:
    with pytest.raises(UserError, match="begins with the weights of its --teacher: leave --init-from out"):
        load_initial_weights(SMALL.build(SHAPE, CONDITIONS), TwoModel(), trained(SMALL, FlowMatching()))


def test_a_run_begins_so_and_remembers_it(tmp_path: Path) -> None:
    flow, run = tmp_path / "flow", tmp_path / "run"
    train(flow, "--objective", "flow", "--train-steps", 3)
    words = ("--init-from", flow, "--schedule", "constant", "--learning-rate", 1e-9, "--weight-decay", 0)
    train(run, *words, "--train-steps", 2)
    model, given = load(run), load(flow)
    noise = torch.randn(5, *given.task.shape)
    truth = given.network(noise, torch.zeros(5), torch.zeros(5), given.network.encode({"label": torch.arange(5)}))
    made = model.network(noise, torch.zeros(5), torch.ones(5), model.network.encode({"label": torch.arange(5)}))
    torch.testing.assert_close(made, truth, rtol=1e-5, atol=1e-5)
    # On from there with the same words; not without, and not from another model.
    train(run, *words, "--train-steps", 4)
    assert steps_of(run)[-1] == 4
    before = tensors(run)
    for other in ((), ("--init-from", run)):
        outcome = shortcut(*DIGITS, "--run", run, *words[2:], "--train-steps", 6, *other)
        assert "was started with another --init-from, or without: pass the same" in outcome.complaint
    assert tensors(run).keys() == before.keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--init-from", "nowhere"), "nowhere does not exist: pass a run directory or a model file"),
        (("--init-from", "foreign"), "foreign is damaged or not a safetensors file"),
        (("--init-from", "nowhere", "--objective", "reflow"), "leave --init-from out"),
    ],
)
def test_refusals_of_init_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign").write_text("words " * 100)
    assert_refused(("train", "digits", *NETWORK, "--run", "run", *words), message, unchanged=tmp_path)
