"""The embedded data set `shapes`: coloured shapes on cluttered backgrounds, drawn by numpy.

It needs no download, and it gives the true object mask of every image, to compare attention masks with. Only the
outline of the object depends on the class; colour, position and background do not.

The bytes are meant to be the same on every machine. Random numbers are uniform ones only, and pixels are computed by
operations that IEEE 754 rounds exactly (+, -, *, /, sqrt, comparisons): the sines, exponentials and matrix products of
different processors differ in the last bit, so none are used.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]  # float32 throughout
Range = tuple[float, float]
Point = tuple[float, float]  # in units of an object's radius

CLASSES: tuple[str, ...] = (
    "arrow", "circle", "crescent", "cross", "diamond", "heart", "ring", "square", "star", "triangle",
)  # fmt: skip
SPLITS: dict[str, int] = {"train": 4000, "test": 1000}

SIZE = 32  # pixels along a side
BLOCK = 250  # images drawn at once: few calls into numpy, and arrays that stay in the cache
RADIUS = (7.5, 11.5)  # of the circle around an object, in pixels
TILT = 0.17  # largest tan(angle / 2) of an object's rotation: 19 degrees either way
STRETCH = 0.10  # largest relative change of an object's width
STROKES = 5  # distracting strokes behind the object


class Drawn(NamedTuple):
    """Images of one split: `images` (N, 32, 32, 3) in 0..255, `labels` (N,) into CLASSES, `masks` (N, 32, 32).

    A mask is true where the pixel's centre lies on the object. No object is covered or cut off by the border.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]


def draw(split: str, seed: int = 0, count: int | None = None) -> Drawn:
    """Draws the split `"train"` (4,000 images) or `"test"` (1,000 images), the same bytes for the same seed.

    `count` asks for another number of images: a smaller one gives the first images of the split, a larger one goes on
    after its end. Every ten images in a row hold each class once. The splits of one seed share no random numbers.

    Raises ValueError for an unknown split, for a count below one and for a negative seed.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} of shapes; known are {', '.join(map(repr, SPLITS))}")
    count = SPLITS[split] if count is None else count
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
    key = list(SPLITS).index(split)
    blocks = [
        _block(np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(key, number)))))
        for number in range(-(-count // BLOCK))
    ]
    return Drawn(*(np.concatenate(parts)[:count] for parts in zip(*blocks, strict=True)))


def _block(rng: np.random.Generator) -> Drawn:
    """Draws BLOCK images from one stream of random numbers."""
    order = np.argsort(rng.random((BLOCK // len(CLASSES), len(CLASSES))), axis=1, kind="stable")
    labels = order.reshape(-1).astype(np.int64)  # (N,)
    scene, scene_colours = _background(rng)  # (N, 32, 32, 3), (N, 3, 3)
    scene = _strokes(rng, scene)  # (N, 32, 32, 3)
    distance, fill = _object(rng, labels, scene_colours)  # (N, 32, 32), (N, 32, 32, 3)
    cover = np.clip(0.5 - distance, 0, 1)[..., None]  # (N, 32, 32, 1), the share of each pixel that the object covers
    scene = scene + (fill - scene) * cover + _between(rng, -0.03, 0.03, SIZE, SIZE, 3)
    images = np.floor(np.clip(scene, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Drawn(images, labels, distance <= 0)


# Random numbers and coordinates -------------------------------------------------------------------------------------


def _between(rng: np.random.Generator, low: float, high: float, *shape: int) -> Array:
    """Uniform numbers of shape (BLOCK, *shape). `Generator.uniform` may fuse its product and sum on some processors."""
    return (low + (high - low) * rng.random((BLOCK, *shape))).astype(np.float32)


def _colour(rng: np.random.Generator, saturation: Range, value: Range, *shape: int) -> Array:
    """Colours of any hue, (BLOCK, *shape, 3) in 0..1."""
    hue = _between(rng, 0, 6, *shape, 1)
    chroma = _between(rng, *saturation, *shape, 1)
    bright = _between(rng, *value, *shape, 1)
    place = np.mod(hue + np.array([5, 3, 1], np.float32), 6)
    return bright - bright * chroma * np.clip(np.minimum(place, 4 - place), 0, 1)


def _grid() -> tuple[Array, Array]:
    """Coordinates of the pixels' centres from the image's own, in pixels: x (1, 1, 32) rightwards, y (1, 32, 1) up."""
    along = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    return along[None, None, :], -along[None, :, None]


def _direction(rng: np.random.Generator, largest: float = 1) -> tuple[Array, Array]:
    """Cosine and sine (BLOCK, 1, 1) of an angle up to `largest`, the tangent of half of it: 1 is a right angle."""
    half = _between(rng, -largest, largest, 1, 1)
    return (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)


def _wave(phase: Array) -> Array:
    """A wave of period 1 with straight flanks in 0..1, in place of a sine."""
    return np.clip(np.abs(phase - np.floor(phase) - 0.5) * 4 - 0.5, 0, 1)


# Background -----------------------------------------------------------------------------------------------------------


def _background(rng: np.random.Generator) -> tuple[Array, Array]:
    """A scene of a gradient, stripes or checks, and blotches, (N, 32, 32, 3), and its three colours, (N, 3, 3)."""
    colours = _colour(rng, (0.1, 0.7), (0.2, 0.95), 3)  # (N, 3, 3)
    first, second, third = (colours[:, None, None, index] for index in range(3))  # (N, 1, 1, 3) each
    second, third = (first + (other - first) * 0.6 for other in (second, third))  # one scene, one mood
    x, y = _grid()

    cosine, sine = _direction(rng)
    slope = (x * cosine + y * sine) / (SIZE * 1.42) + 0.5  # (N, 32, 32), in 0..1
    cosine, sine = _direction(rng)
    period = _between(rng, 4, 10, 1, 1)
    stripes = _wave((x * cosine + y * sine) / period + _between(rng, 0, 1, 1, 1))
    across = _wave((y * cosine - x * sine) / period + _between(rng, 0, 1, 1, 1))
    kind = _between(rng, 0, 3, 1, 1)  # a third each: plain, stripes, checks
    checks = np.where(kind < 2, stripes, np.abs(stripes - across))
    tone = np.where(kind < 1, slope, slope * 0.3 + checks * 0.7)

    scene = first + (second - first) * tone[..., None]  # (N, 32, 32, 3)
    blotches = np.clip(_noise(rng, 5) * 3 - 1, 0, 1) * _between(rng, 0.2, 1, 1, 1)  # (N, 32, 32)
    scene = scene + (third - scene) * blotches[..., None]
    scene = scene + ((_noise(rng, 11) - 0.5) * _between(rng, 0.05, 0.25, 1, 1))[..., None]
    return scene, np.concatenate([first, second, third], axis=1)[:, :, 0]


def _noise(rng: np.random.Generator, knots: int) -> Array:
    """Smooth noise in 0..1, (N, 32, 32): random values at knots x knots places, linear between them."""
    place = np.arange(SIZE, dtype=np.float32) * ((knots - 1) / SIZE)
    low = np.floor(place).astype(np.int64)
    share = place - low.astype(np.float32)
    values = _between(rng, 0, 1, knots, knots)
    values = values[:, low] + (values[:, low + 1] - values[:, low]) * share[:, None]  # (N, 32, knots)
    return values[:, :, low] + (values[:, :, low + 1] - values[:, :, low]) * share  # (N, 32, 32)


def _strokes(rng: np.random.Generator, scene: Array) -> Array:
    """Lays STROKES coloured strokes, thin and long or short and thick, over the scene, (N, 32, 32, 3)."""
    x, y = _grid()
    for number in range(STROKES):
        thin = number % 2 == 0
        length = _between(rng, 5, 11, 1, 1) if thin else _between(rng, 1, 3, 1, 1)  # half of it, in pixels
        width = _between(rng, 0.5, 0.9, 1, 1) if thin else _between(rng, 1.1, 1.8, 1, 1)
        cosine, sine = _direction(rng)
        right, up = x - _between(rng, -15, 15, 1, 1), y - _between(rng, -15, 15, 1, 1)
        along, aside = right * cosine + up * sine, up * cosine - right * sine
        beyond = np.maximum(np.abs(along) - length, 0)
        distance = np.sqrt(beyond * beyond + aside * aside) - width  # (N, 32, 32)
        cover = np.clip(0.5 - distance, 0, 1)[..., None]
        scene = scene + (_colour(rng, (0.3, 0.9), (0.2, 1.0), 1, 1) - scene) * cover
    return scene


# Objects --------------------------------------------------------------------------------------------------------------


def _object(rng: np.random.Generator, labels: NDArray[np.int64], scene_colours: Array) -> tuple[Array, Array]:
    """Signed distance to the objects' outlines, in pixels, negative inside, (N, 32, 32), and fill, (N, 32, 32, 3)."""
    x, y = _grid()
    radius = _between(rng, *RADIUS, 1, 1)
    room = (SIZE - 1) / 2 - radius / (1 - STRETCH)  # the whole object stays inside
    x, y = x - room * _between(rng, -1, 1, 1, 1), y - room * _between(rng, -1, 1, 1, 1)
    cosine, sine = _direction(rng, TILT)
    stretch = 1 + _between(rng, -STRETCH, STRETCH, 1, 1)
    u = (x * cosine + y * sine) / (radius * stretch)  # (N, 32, 32), about -1..1 on the object
    v = (y * cosine - x * sine) / radius * stretch
    u = np.where(_between(rng, 0, 1, 1, 1) < 0.5, -u, u)  # half of the crescents open to the left
    distance = np.empty_like(u)
    for label, name in enumerate(CLASSES):
        mine = labels == label
        distance[mine] = _OUTLINES[name](u[mine], v[mine]) * radius[mine]

    # Of a few colours the one that is farthest from the nearest colour of the scene.
    offers = _colour(rng, (0.4, 1.0), (0.25, 1.0), 6)  # (N, 6, 3)
    apart = np.abs(offers[:, :, None] - scene_colours[:, None])  # (N, 6, 3, 3)
    nearest = (apart[..., 0] + apart[..., 1] + apart[..., 2]).min(axis=2)  # (N, 6)
    colour = offers[np.arange(BLOCK), nearest.argmax(axis=1)][:, None, None]  # (N, 1, 1, 3)
    cosine, sine = _direction(rng)
    shade = (u * cosine + v * sine) * _between(rng, -0.2, 0.2, 1, 1)
    shade = shade + (_noise(rng, 9) - 0.5) * 0.2
    return distance, colour * (1 + shade[..., None])


def _length(x: Array, y: Array) -> Array:
    return np.sqrt(x * x + y * y)


def _polygon(x: Array, y: Array, *corners: Point) -> Array:
    """Signed distance to a convex polygon whose corners run against the clock; level lines keep its corners sharp."""
    distance: Array = np.full_like(x, -np.inf)
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        distance = np.maximum(distance, _edge(x, y, start, end))
    return distance


def _edge(x: Array, y: Array, start: Point, end: Point) -> Array:
    """Signed distance to the half plane on the left of the way from start to end."""
    right, up = end[1] - start[1], start[0] - end[0]
    norm = math.sqrt(right * right + up * up)
    return (x - start[0]) * (right / norm) + (y - start[1]) * (up / norm)


def _arrow(x: Array, y: Array) -> Array:
    shaft = np.maximum(np.abs(x) - 0.26, np.abs(y + 0.4) - 0.56)
    return np.minimum(shaft, _polygon(x, y, (0.0, 1.0), (-0.8, 0.05), (0.8, 0.05)))


def _circle(x: Array, y: Array) -> Array:
    return _length(x, y) - 0.88


def _crescent(x: Array, y: Array) -> Array:
    return np.maximum(_length(x + 0.1, y) - 0.95, 0.78 - _length(x - 0.38, y))


def _cross(x: Array, y: Array) -> Array:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.maximum(x, y) - 0.95, np.minimum(x, y) - 0.3)


def _diamond(x: Array, y: Array) -> Array:
    return _polygon(x, y, (0.64, 0.0), (0.0, 1.0), (-0.64, 0.0), (0.0, -1.0))


def _heart(x: Array, y: Array) -> Array:
    x, y = np.abs(x), y + 0.1
    point = _polygon(x, y, (0.0, -0.8), (0.8, 0.0), (0.0, 0.8), (-0.8, 0.0))
    return np.minimum(point, _length(x - 0.4, y - 0.4) - 0.5657)


def _ring(x: Array, y: Array) -> Array:
    return np.abs(_length(x, y) - 0.7) - 0.23


def _square(x: Array, y: Array) -> Array:
    return np.maximum(np.abs(x), np.abs(y)) - 0.76


def _star(x: Array, y: Array) -> Array:
    """Five points: the part of the plane beside one point, into which the others are folded by two mirrors."""
    x = np.abs(x)
    for right, up in ((0.809017, -0.587785), (-0.809017, -0.587785)):
        over = 2 * np.maximum(x * right + y * up, 0)
        x, y = x - over * right, y - over * up
    return _edge(np.abs(x), y, (0.2821, 0.3883), (0.0, 1.0))


def _triangle(x: Array, y: Array) -> Array:
    return _polygon(x, y, (0.0, 0.95), (-0.86, -0.62), (0.86, -0.62))


_OUTLINES: dict[str, Callable[[Array, Array], Array]] = {
    "arrow": _arrow,
    "circle": _circle,
    "crescent": _crescent,
    "cross": _cross,
    "diamond": _diamond,
    "heart": _heart,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "triangle": _triangle,
}
