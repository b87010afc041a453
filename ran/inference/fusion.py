"""Batch-norm fusion: batch norms are folded into the convolutions before them, where that is exact."""

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)


def fuse_batch_norms(network: Network) -> Network:
    """A copy of `network` in evaluation mode with fused batch norms and the same outputs; `network` is not changed.

    In evaluation mode, batch norm is a·x + b in each channel, and a convolution whose output nothing else reads can
    take both into its weights. That holds for two of the three batch norms of a bottleneck unit. The first one stays:
    it reads the sum of a unit and its shortcut, not a convolution, and a ReLU follows it. Pairs are found within a
    unit, a branch, the stem or the head, not across them: in the CIFAR networks, the norm after the stem stays.
    """
    network = copy.deepcopy(network).eval()
    chains = [module for module in network.modules() if isinstance(module, nn.Sequential)]
    inner = {id(child) for chain in chains for child in chain.children()}
    for chain in chains:
        if id(chain) in inner:
            continue  # a nested chain is handled with the outer one
        for (before, i, convolution), (after, j, norm) in pairwise(_links(chain)):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                before[i] = fuse_conv_bn_eval(convolution, norm)
                after[j] = nn.Identity()
    return network


def _links(chain: nn.Sequential) -> Iterator[tuple[nn.Sequential, int, nn.Module]]:
    """The modules of a chain and of nested chains, in the order they run, each with its parent and index."""
    for number, child in enumerate(chain):
        if isinstance(child, nn.Sequential):
            yield from _links(child)
        else:
            yield chain, number, child
