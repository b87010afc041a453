"""Make the book's pictures of a recorded run on CIFAR-10.

    python book/picture.py --data-root PATH

trains Attention-56 as recorded, or takes its weights where they are beside the record, and writes 16 test images
in one strip (book/_static/cifar10_samples.png, lossless) and the landing picture (book/_static/attention.png). So the
chapters can show what a network trained on photographs does, without the data set. Where weights.safetensors is not
beside the record, give a new --results folder, and the run is trained again.
"""

import argparse
import sys

import numpy as np
from execute import ROOT
from PIL import Image

from ran.runs import Environment, RunConfig, run
from ran.study import figures

CONFIG = RunConfig(dataset="cifar10", schedule="paper")
SAMPLES = 16


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
    Image.fromarray(np.hstack(list(finished.data.test.images[:SAMPLES].numpy()))).save(static / "cifar10_samples.png")
    figures.set_theme()
    figures.masks_over_images(finished.network, finished.data).savefig(static / "attention.png", dpi=192)
    return 0


if __name__ == "__main__":
    sys.exit(main())
