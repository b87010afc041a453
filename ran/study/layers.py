"""The paper's table 2, read from networks: what stands in each layer, and at what size."""

import pandas as pd
from torch import nn

from ran.model import STEMS, ResidualAttentionNetwork, ResidualUnit, cost
from ran.study.labels import label

PARTS = {"unit": "residual unit", "module": "attention module", "tail": "residual units"}


def layers(*networks: ResidualAttentionNetwork) -> pd.DataFrame:
    """Layer, output size and, in a column for each network, what stands there, as text; an en dash for nothing.

    A unit is named by its convolutions, kernel and channels. The networks may be on the meta device. Raises ValueError
    where they differ in stem or in the number of their stages.
    """
    if len({(network.config.stem, len(network.config.stages)) for network in networks}) != 1:
        names = ", ".join(network.config.name for network in networks)
        raise ValueError(f"expected networks with one stem and as many stages, got {names or 'none'}.")
    sizes = cost(networks[0]).set_index("block").height
    rows = [["stem", sizes["stem"], *map(_stem, networks)]]
    for number in range(1, len(networks[0].config.stages) + 1):
        for part, name in PARTS.items():
            texts = [_layer(network, number, part) for network in networks]
            if any(text != "–" for text in texts):
                rows.append([name, sizes[f"stage{number}_unit"], *texts])
    rows.append(["average pool, classifier", 1, *(f"{network.config.num_classes:,} classes" for network in networks)])
    frame = pd.DataFrame(rows, columns=["Layer", "Output", *(label(network.config.name) for network in networks)])
    return frame.assign(Output=[f"{side}×{side}" for side in frame.Output])


def _stem(network: ResidualAttentionNetwork) -> str:
    stem = STEMS[network.config.stem]
    text = f"{stem.kernel}×{stem.kernel}, {network.config.stem_channels}, stride {stem.stride}"
    return f"{text}; 3×3 max-pooling, stride 2" if stem.pools else text


def _layer(network: ResidualAttentionNetwork, number: int, part: str) -> str:
    stage = network.config.stages[number - 1]
    if part == "module":
        poolings = f"{stage.poolings} pooling{'s' * (stage.poolings > 1)}"
        return f"{stage.modules} × ({poolings})" if stage.modules else "–"
    if part == "tail" and not stage.tail:
        return "–"
    unit = network.blocks[f"stage{number}_{'unit' if part == 'unit' else 'tail1'}"]
    assert isinstance(unit, ResidualUnit)
    found = [each for each in unit.residual.modules() if isinstance(each, nn.Conv2d)]
    text = "; ".join(f"{each.kernel_size[0]}×{each.kernel_size[0]}, {each.out_channels}" for each in found)
    if part == "unit":
        return f"{text}; stride {stage.stride}" if stage.stride > 1 else text
    return f"{stage.tail} × ({text})"
