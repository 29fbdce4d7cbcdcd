"""One network in the hands of several processes: whole in each (DDP), or cut up among them (FSDP2).

What torch has for it is imported where it is needed: it takes seconds, for which one process has no use.
"""

import contextlib
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..base import Network
from ..errors import UserError


def replicate(loss: nn.Module) -> nn.Module:
    """Return the loss module with its gradients averaged over the processes (DDP).

    It is wrapped and not the network, as objectives may differentiate through the network or call it more than once.
    """
    return DistributedDataParallel(loss, gradient_as_bucket_view=True, init_sync=False)


def shard(
    trained: Network, sampled: Network, others: Iterable[Network], device: torch.device, world: int, *, bfloat16: bool
) -> None:
    """Cut the parameters of networks up among the processes, all in the same way (FSDP2); in place.

    A unit (`Network.shard_units`) is moved to the device when it is cut up, so that only one is there whole. The
    gradients of `trained` are averaged in float32. bfloat16: gather all but `sampled` in it, which halves what is sent;
    `sampled` is gathered as it is, since samples are made without autocast.
    """
    for name, parameter in trained.named_parameters():
        if parameter.ndim == 0:
            raise UserError(f"parallel fsdp cannot cut up {name!r}, which has no axis: add one, or use ddp")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy

    # It warns of networks that return a view, which must not be changed in place: nothing of ours does.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(device.type, (world,))
    # Inputs keep their precision, since times do not survive bfloat16; autocast chooses that of each operation.
    low = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for network in dict.fromkeys([trained, sampled, *others]):
        policy = low if bfloat16 and network is not sampled else MixedPrecisionPolicy()
        _shard(network, mesh, policy, keep=network is trained)


def _shard(network: Network, mesh: Any, policy: Any, *, keep: bool) -> None:
    """Shard a network in place; keep: what is in no unit stays gathered from the forward to the backward pass."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for unit in network.shard_units():
        fully_shard(unit, mesh=mesh, mp_policy=policy)
    fully_shard(network, mesh=mesh, mp_policy=policy, reshard_after_forward=None if keep else True)
    register_fsdp_forward_method(network, "encode")


def unsynchronised(loss: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Return a context in which gradients add up without being averaged: for all parts of a batch but the last.

    Sharded gradients are averaged part by part all the same, as no process could keep the whole gradient.
    """
    return loss.no_sync() if isinstance(loss, DistributedDataParallel) else contextlib.nullcontext()


def check_gradients(loss: nn.Module) -> None:
    """Raise UserError where DDP got no gradient of a parameter, and so averaged none of its bucket's."""
    if isinstance(loss, DistributedDataParallel):
        for name, parameter in loss.module.network.named_parameters():
            if parameter.requires_grad and parameter.grad is None:
                raise UserError(
                    f"the loss does not depend on {name}, and parallel ddp needs every gradient: call "
                    f"requires_grad_(False) on it, or use fsdp"
                )


def is_sharded(tensor: Tensor) -> bool:
    """Return whether a tensor is cut up among processes: a DTensor."""
    return hasattr(tensor, "full_tensor")


def to_local(tensors: Iterable[Any]) -> list[Tensor]:
    """Return the parts of tensors that this process holds: all of one that is not sharded."""
    return [tensor.to_local() if is_sharded(tensor) else tensor for tensor in tensors]


def full_tensor(tensor: Any) -> Tensor:
    """Return a tensor in one piece, gathered from all processes where it is sharded."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def shard_like(tensor: Tensor, like: Any) -> Tensor:
    """Return a tensor that every process has whole, sharded as `like` is; a sharded one stays as it is."""
    if not is_sharded(like) or is_sharded(tensor) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
