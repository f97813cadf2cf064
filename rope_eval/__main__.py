"""`python -m rope_eval` is `rope-eval`: what `accelerate launch -m` needs."""

import sys

from rope_eval.cli import main

sys.exit(main())
