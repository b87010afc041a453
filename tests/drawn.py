"""An image folder that tests draw for themselves."""

import numpy as np
from PIL import Image

CLASSES = ("dark", "light", "striped")


def draw(root, per_class=12, test="val"):
    """Noise of three kinds, in files of differing sizes, modes and formats."""
    random = np.random.default_rng(0)
    for part, count in (("train", per_class), (test, 4)):
        for label, name in enumerate(CLASSES):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = random.integers(0, 100, (70 + number, 90, 3)) + (0, 120, 60)[label]
                if label == 2:
                    image[::4] //= 4
                picture = Image.fromarray(image.astype(np.uint8)).convert("L" if number == 1 else "RGB")
                picture.save(folder / f"{number:02}.{'png' if number % 2 else 'jpg'}")
    return root
