import hashlib

import numpy as np
import pytest

from ran.data.shapes import CLASSES, SPLITS, draw


@pytest.fixture(scope="module")
def drawn():
    return draw("test")


def outside(masks):
    """True for the pixels beyond a two-pixel margin around the object: those that it shares no colour with."""
    near = np.pad(masks, ((0, 0), (2, 2), (2, 2)))
    size = masks.shape[1]
    return ~np.any([near[:, top : top + size, left : left + size] for top in range(5) for left in range(5)], axis=0)


def test_the_bytes_are_those_of_every_other_machine(drawn):
    digest = hashlib.sha256()
    for array in drawn:
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    assert digest.hexdigest() == "a74cbf7896ea46b962e7aa15370fe80b0dd0c0c85919feee28751f9e70513ca6"


def test_sizes_and_types(drawn):
    images, labels, masks = drawn
    assert (images.shape, images.dtype) == ((1000, 32, 32, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((1000,), np.int64)
    assert (masks.shape, masks.dtype) == ((1000, 32, 32), np.bool_)
    assert SPLITS == {"train": 4000, "test": 1000}
    assert list(CLASSES) == sorted(set(CLASSES)) and len(CLASSES) == 10


def test_every_ten_images_hold_every_class_once(drawn):
    tens = drawn.labels.reshape(-1, 10)
    assert (np.sort(tens, axis=1) == np.arange(10)).all()
    assert len(np.unique(tens, axis=0)) > 90  # in ever another order


def test_a_count_asks_for_the_first_images_or_for_more(drawn):
    for part, whole in zip(draw("test", count=30), drawn, strict=True):
        np.testing.assert_array_equal(part, whole[:30])
    longer = draw("test", count=1010)
    assert len(longer.images) == 1010
    np.testing.assert_array_equal(longer.images[:1000], drawn.images)


def test_seeds_and_splits_share_no_image():
    parts = [draw(split, seed, 250).images for split in SPLITS for seed in (0, 1)]
    assert len(np.unique(np.concatenate(parts).reshape(1000, -1), axis=0)) == 1000


def test_objects_are_whole_and_of_every_size(drawn):
    masks = drawn.masks
    area = masks.sum((1, 2))
    assert 60 < area.min() < 90 and 290 < area.max() < 340  # of 1,024 pixels
    border = np.concatenate([masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]], axis=1)
    assert not border.any()


def test_the_mask_tells_the_object_from_its_background(drawn):
    images, _, masks = drawn
    beyond = outside(masks)

    def mean(where):
        return (images * where[..., None]).sum((1, 2)) / where.sum((1, 2))[:, None]

    apart = np.abs(mean(masks) - mean(beyond)).sum(1)
    assert apart.min() > 40 and apart.mean() > 150  # of 765 grey levels in the three channels


def test_colour_tells_nothing_of_the_class(drawn):
    images, labels, masks = drawn
    colour = (images * masks[..., None]).sum((1, 2)) / masks.sum((1, 2))[:, None]
    overall, spread = colour.mean(0), colour.std(0)
    for label in range(10):
        deviation = (colour[labels == label].mean(0) - overall) / (spread / 10)  # in standard errors of 100 images
        assert np.abs(deviation).max() < 4


def test_classes_differ_by_their_outline(drawn):
    """The hole of a ring, the hollow of a crescent: the share of its bounding box that an object fills."""
    filled = {name: [] for name in CLASSES}
    for mask, label in zip(drawn.masks, drawn.labels, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        filled[CLASSES[label]].append(box.mean())
    share = {name: np.mean(values) for name, values in filled.items()}
    assert min(share["square"], share["circle"]) > share["heart"] > share["ring"] > share["cross"] > share["crescent"]
    assert share["diamond"] > share["triangle"] > max(share["arrow"], share["star"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("validation",), "'validation'.*'train', 'test'"),
        (("train", -1), "seed"),
        (("train", 0, 0), "count"),
    ],
)
def test_impossible_wishes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw(*arguments)
