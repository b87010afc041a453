"""Activation checkpointing: features are recomputed in the backward pass instead of being kept, to save memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpoint_activations(block: nn.Module, x: Tensor) -> Tensor:
    """block(x) with activation checkpointing: only `x` is kept, and the backward pass recomputes the features.

    Same outputs, gradients and statistics, for one more forward pass (Chen et al. 2016, arXiv 1604.06174).
    """
    return checkpoint(
        block, x, use_reentrant=False, preserve_rng_state=False, context_fn=partial(_first_and_second, block)
    )


def _first_and_second(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Keep batch norms from counting the recomputed batch a second time in their running statistics."""
    norms = [each for each in block.modules() if isinstance(each, _BatchNorm)]
    before = [(each.momentum, each.num_batches_tracked) for each in norms]
    try:
        for each in norms:
            each.momentum, each.num_batches_tracked = 0.0, torch.zeros((), dtype=torch.int64)
        yield
    finally:
        for each, (momentum, tracked) in zip(norms, before, strict=True):
            each.momentum, each.num_batches_tracked = momentum, tracked
