"""The likeliest classes of a picture."""

import torch
from PIL import Image

from ran.inference.weights import Trained


@torch.inference_mode()
def predict(trained: Trained, picture: Image.Image, count: int = 5) -> list[tuple[str, float]]:
    """The `count` likeliest classes of an RGB picture of any size with their probabilities, the likeliest first."""
    logits = trained.network(trained.normalise(trained.crop(picture)[None]))  # (1, classes)
    likeliest = logits.softmax(1)[0].topk(min(count, len(trained.classes)))
    return [
        (trained.classes[number], share)
        for share, number in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)
    ]
