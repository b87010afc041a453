"""Inference with fewer layers: batch norm folded into the convolution before it, where that is exact."""

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)


def fuse_batch_norms(network: Network) -> Network:
    """A copy of `network` in evaluation mode that computes the same with fewer batch norms; `network` is not changed.

    In evaluation batch norm is a·x + b in each channel, and a convolution that nothing else reads takes both into its
    weights. So it is with two of the three in a bottleneck unit. The first one reads the sum of a unit and its
    shortcut, which no convolution computed, and a ReLU stands behind it: it stays. Pairs are found within a unit, a
    branch or an end of the network, not across them: the stem of the CIFAR networks keeps the norm that follows it.
    """
    network = copy.deepcopy(network).eval()
    chains = [module for module in network.modules() if isinstance(module, nn.Sequential)]
    inner = {id(child) for chain in chains for child in chain.children()}
    for chain in chains:
        if id(chain) in inner:
            continue  # it is a part of a chain, and comes with it
        for (before, i, convolution), (after, j, norm) in pairwise(_links(chain)):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                before[i] = fuse_conv_bn_eval(convolution, norm)
                after[j] = nn.Identity()
    return network


def _links(chain: nn.Sequential) -> Iterator[tuple[nn.Sequential, int, nn.Module]]:
    """The modules of a chain and of the chains in it in the order they are run, each with where it stands."""
    for number, child in enumerate(chain):
        if isinstance(child, nn.Sequential):
            yield from _links(child)
        else:
            yield chain, number, child
