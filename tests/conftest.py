"""What every test shares: one thread, and quiet libraries (a pytest warning is an error)."""

import torch
from transformers.utils import logging

torch.set_num_threads(1)
logging.set_verbosity_error()
logging.disable_progress_bar()
