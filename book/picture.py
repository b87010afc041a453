"""Make the book's pictures: of a recorded run on CIFAR-10, and a drawn one.

    python book/picture.py --data-root PATH

trains Attention-56 as recorded, or takes its weights where they are beside the record, and writes 16 test images
in one strip (book/_static/cifar10_samples.png, lossless) and the landing picture (book/_static/attention.png). So the
chapters can show what a network trained on photographs does, without the data set. Where weights.safetensors is not
beside the record, give a new --results folder, and the run is trained again. The picture that
notebooks/explain.ipynb takes by default, book/_static/ship.png, is drawn.
"""

import argparse
import sys

import numpy as np
from execute import ROOT
from PIL import Image, ImageDraw

from ran.runs import Environment, RunConfig, run
from ran.study import figures

CONFIG = RunConfig(dataset="cifar10", schedule="paper")
SAMPLES = 16


def ship() -> Image.Image:
    """A steamer on the sea, 640×420, of a few polygons."""
    image = Image.new("RGB", (640, 420), (150, 200, 240))
    drawing = ImageDraw.Draw(image)
    drawing.rectangle((0, 280, 640, 420), fill=(40, 90, 150))
    drawing.polygon([(120, 260), (520, 260), (470, 330), (170, 330)], fill=(160, 40, 40))
    drawing.rectangle((220, 190, 420, 260), fill=(240, 240, 240))
    drawing.rectangle((300, 120, 340, 190), fill=(60, 60, 60))
    return image


def main() -> int:
    """Command line: 0, or 1 where the record has no weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=Environment.data_root, help="folder that holds CIFAR-10")
    parser.add_argument("--results", default=Environment.results, help="folder that holds the run")
    finished = run(CONFIG, Environment(**vars(parser.parse_args())))
    if finished.network is None:
        print(f"{finished.folder} holds no weights: give another --results folder.", file=sys.stderr)
        return 1
    static = ROOT / "book" / "_static"
    ship().save(static / "ship.png")
    Image.fromarray(np.hstack(list(finished.data.test.images[:SAMPLES].numpy()))).save(static / "cifar10_samples.png")
    figures.set_theme()
    figures.masks_over_images(finished.network, finished.data).savefig(static / "attention.png", dpi=192)
    return 0


if __name__ == "__main__":
    sys.exit(main())
