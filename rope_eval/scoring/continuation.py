"""What a model goes on with after the beginning of a text, by its likeliest tokens alone."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from rope_eval.backends.hf.attention import sequence_lengths
from rope_eval.backends.hf.compat import input_device
from rope_eval.backends.hf.overrides import evaluating
from rope_eval.scoring.logits import check_vocabulary


def continuation(model: PreTrainedModel, input_ids: Tensor, tokens: int) -> Tensor:
    """Return the likeliest next token after a text, and so on: int64 ``[at most tokens]``.

    It ends early where the model ends the text. What else a checkpoint's generation config says
    (sampling, penalties, beams) is left out, so that two settings differ in nothing else.

    Args:
        model: inside `patched`; under a "per_sequence" base the whole sequence is the text and all
            tokens that may follow.
        input_ids: the text, int64 ``[T]``.
        tokens: how many to write.

    Raises:
        DataError: for a token that the model does not have.
    """
    check_vocabulary(model, int(input_ids.max()))
    ids = input_ids[None].to(input_device(model))
    length = torch.tensor([ids.shape[1] + tokens], device=ids.device)
    own = model.generation_config
    ends = own.eos_token_id if own is not None else model.config.get_text_config().eos_token_id
    pad = next(iter(ends), None) if isinstance(ends, list) else ends
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=pad)
    try:
        with torch.inference_mode(), evaluating(model), sequence_lengths(model, length):
            found = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                num_beams=1,
                max_new_tokens=tokens,
            )
    finally:
        model.generation_config = own
    return torch.as_tensor(found)[0, ids.shape[1] :].cpu()
