"""``python -m studies.scaling_laws``: the same as ``rope-eval lab``."""

import sys

from rope_eval.cli import main

if __name__ == "__main__":
    sys.exit(main(["lab", *sys.argv[1:]]))
