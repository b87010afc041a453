"""What book/explorer.md says of the published network in numbers, held to the network itself."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ran.files import ROOT
from ran.inference import DEFAULT, load

WORDS = (ROOT / "book" / "explorer.md").read_text(encoding="utf-8")
CAR = 1  # the yellow one, in the strip of pictures


@pytest.fixture(scope="module")
def masks():
    """The masks (16, C, H, W) of every module, over the 16 pictures of the page."""
    trained, trace = load(DEFAULT), {}
    strip = torch.from_numpy(np.array(Image.open(ROOT / "book" / "_static" / "cifar10_samples.png")))
    with torch.inference_mode():
        trained.network(trained.normalise(strip.unflatten(1, (16, 32)).permute(1, 0, 2, 3)), trace)
    return {name.removesuffix(".mask"): mask for name, mask in trace.items() if name.endswith(".mask")}


def test_mean_masks_stay_near_one_half_and_channels_span_much(masks):
    assert "A mean mask stays within 0.13 of one half" in WORDS and "span up to 0.9" in WORDS
    assert all((mask.mean(1) - 0.5).abs().max() < 0.13 for mask in masks.values())
    spans = [(mask.amax((2, 3)) - mask.amin((2, 3))).max().item() for mask in masks.values()]
    assert round(max(spans), 1) == 0.9


def test_one_channel_opens_on_the_car_and_one_around_it(masks):
    assert "the yellow car and channels 199 and 31" in WORDS
    opens, closes = (masks["stage3_module1"][CAR, channel] for channel in (199, 31))
    inside, above = (slice(3, 7), slice(2, 7)), (0, slice(None))
    assert opens[inside].min() > 0.45 and opens[above].max() < 0.25
    assert closes[inside].max() < 0.35 and closes[above].min() > 0.40


def test_the_error_is_that_of_the_record():
    assert "wrong on one test image in nineteen" in WORDS
    record = json.loads((load(DEFAULT).source.parent / "record.json").read_text(encoding="utf-8"))
    assert round(100 / record["test_error"]) == 19
