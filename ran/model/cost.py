"""The cost of a network: parameters and multiply-adds of every block."""

import pandas as pd
import torch
from torch import nn

from ran.model.attention import AttentionModule
from ran.model.network import STEMS, ResidualAttentionNetwork


def cost(network: ResidualAttentionNetwork, size: int | None = None, branches: bool = False) -> pd.DataFrame:
    """Output shape, parameters and multiply-adds of every block, for one image of `size` × `size` pixels.

    Columns block, channels, height, parameters, multiply_adds; rows in the order of the forward pass, stem to head.
    With `branches`, stage1_module1.trunk and stage1_module1.mask follow each module, whose row holds theirs already.
    `size` defaults to the image size of the stem: 32 for CIFAR, 224 for ImageNet. On the meta device nothing is
    computed.

    Multiply-adds are those of convolutions and the classifier, as the paper counts them (PyTorch's counter gives two
    operations for each).
    """
    size = size or STEMS[network.config.stem].image_size
    images = torch.zeros(1, 3, size, size, device=next(network.parameters()).device)
    trace: dict[str, torch.Tensor] = {}
    was_training = network.training
    from torch.utils.flop_counter import FlopCounterMode  # slow to import

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(images, trace)
    network.train(was_training)
    parts: dict[str, nn.Module] = {"stem": network.stem}
    for name, block in network.blocks.items():
        parts[name] = block
        if branches and isinstance(block, AttentionModule):
            parts |= {f"{name}.trunk": block.trunk, f"{name}.mask": block.mask}
    parts["head"] = network.head
    counts = counter.get_flop_counts()
    rows = []
    for name, part in parts.items():
        path = f"{type(network).__name__}.{name if name in ('stem', 'head') else f'blocks.{name}'}"
        shape = trace[name].shape if name in trace else torch.Size((1, network.config.num_classes, 1, 1))
        rows.append(
            {
                "block": name,
                "channels": shape[1],
                "height": shape[2],
                "parameters": sum(p.numel() for p in part.parameters()),
                "multiply_adds": sum(counts[path].values()) // 2,
            }
        )
    return pd.DataFrame(rows)
