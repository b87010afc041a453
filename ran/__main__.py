"""The command `ran`, or `python -m ran`: an interruption ends in one line from the first moment, imports included."""

import gc
import sys

from ran.interruption import ends_in_one_line


def main() -> int:
    """Run the command line; returns its exit code."""

    def work() -> int:
        gc.disable()  # searching what is imported for garbage takes a tenth of the seconds that it takes
        try:
            from ran.cli import main
        finally:
            gc.freeze()
            gc.enable()
        return main()

    return ends_in_one_line(work)


if __name__ == "__main__":
    sys.exit(main())
