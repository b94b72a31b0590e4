"""Forward hooks of modules: hooks that only compute a weight are run, all others are refused."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


def prepare_hooks(module: nn.Module) -> None:
    """Run the hooks that compute weights before a forward pass, and refuse other hooks.

    `weight_norm`, `spectral_norm` and `torch.nn.utils.prune` set an attribute of the module just before
    its forward pass. This function runs these hooks, so that a bound reads the weights of that pass.

    Args:
        module: the module, in evaluation mode.

    Raises:
        ValueError: a hook on the module, or on all modules, may change its input or output, or a
            parametrised weight changes from reading to reading.
    """
    for hook in module._forward_pre_hooks.values():
        if not _sets_weight(hook):
            raise ValueError(f"has a forward pre-hook ({_name(hook)}) {_UNKNOWN}")
        hook(module, None)
    for hook in module._forward_hooks.values():
        raise ValueError(f"has a forward hook ({_name(hook)}) {_UNKNOWN}")
    for hooks in (torch_module._global_forward_pre_hooks, torch_module._global_forward_hooks):
        for hook in hooks.values():
            raise ValueError(f"has a forward hook of all modules ({_name(hook)}) {_UNKNOWN}")
    if parametrize.is_parametrized(module):
        parametrizations = module.parametrizations
        assert isinstance(parametrizations, nn.ModuleDict)
        for name in parametrizations:
            first, second = getattr(module, name).detach(), getattr(module, name).detach()
            if not torch.equal(first, second):
                raise ValueError(f"its parametrised {name} changes from reading to reading")


_UNKNOWN = "which may change what the module computes: remove the hook to bound the module"


def _sets_weight(hook: object) -> bool:
    """Whether a hook computes a weight from parameters and buffers, and does nothing else."""
    if type(hook) in (WeightNorm, SpectralNorm):
        return True
    kind = type(hook)
    return isinstance(hook, prune.BasePruningMethod) and (
        kind.__call__ is prune.BasePruningMethod.__call__
    )


def _name(hook: object) -> str:
    return getattr(hook, "__qualname__", type(hook).__qualname__)
