"""The likeliest classes of a picture."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from PIL import Image
from torch import nn

from ran.inference.weights import Trained


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, each module's own mode again afterwards: nothing that the network keeps is moved."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.inference_mode()
def predict(trained: Trained, picture: Image.Image, count: int = 5) -> list[tuple[str, float]]:
    """The `count` likeliest classes of an RGB picture of any size with their probabilities, the likeliest first."""
    with evaluating(trained.network):
        logits = trained.network(trained.normalise(trained.crop(picture)[None]))  # (1, classes)
    likeliest = logits.softmax(1)[0].topk(min(count, len(trained.classes)))
    return [
        (trained.classes[number], share)
        for share, number in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)
    ]
