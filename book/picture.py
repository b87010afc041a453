"""Draw the book's first picture: masks of the recorded Attention-56 over test images of CIFAR-10.

    python book/picture.py --data-root PATH

writes book/_static/attention.png. It needs the weights of the run, which stay beside its record on the machine that
trained it; on another one, give a new --results folder, and the run is trained again.
"""

import argparse
import sys

from execute import ROOT

from ran import figures
from ran.runs import Places, RunConfig, run

CONFIG = RunConfig(dataset="cifar10", schedule="short", epochs=8)


def main() -> int:
    """Command line: 0, or 1 where the record has no weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=Places.data_root, help="folder that holds CIFAR-10")
    parser.add_argument("--results", default=Places.results, help="folder that holds the run")
    finished = run(CONFIG, Places(**vars(parser.parse_args())))
    if finished.network is None:
        print(f"{finished.folder} holds no weights; with another --results the run is trained again.", file=sys.stderr)
        return 1
    figures.set_theme()
    figures.masks_over_images(finished.network, finished.data).savefig(
        ROOT / "book" / "_static" / "attention.png", dpi=130
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
