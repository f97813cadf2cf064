"""The part of ``rope-eval lab train`` that tunes a model of the user's own."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rope_eval.commands.progress import progress_bar, say, steps
from rope_eval.errors import SpecError
from rope_eval.lengths import parse_length

if TYPE_CHECKING:
    from rope_eval.tuning.recipes import Recipe


def run_tuning(preset: str, args: argparse.Namespace) -> int:
    """Tune as a preset of the paper does, or print what that would be; return the exit status."""
    if args.only:
        raise SpecError(f"--only names checkpoints of a grid, and {preset} makes one")
    recipe = _tuning_recipe(preset, args)
    if args.dry_run:
        from rope_eval.tuning.dry_run import tuning_plan

        print(tuning_plan(preset, recipe, args.text, accumulation=args.accumulation or 1), end="")
        return 0
    if args.base_model is None or args.text is None:
        raise SpecError(
            f"the preset {preset} tunes a model on a text: give --base-model DIR and --text SRC, "
            "or --dry-run to see what it would do"
        )
    directory = args.output / recipe.name
    if directory.exists() and not args.force:
        raise SpecError(
            f"{directory} is there already: nothing was written. Choose another --output, or "
            "replace it with --force."
        )
    from rope_eval.data.books import read_books

    next(read_books(args.text, limit=1, whole_pile=True))  # tells what is wrong before any work

    from rope_eval.tuning.folders import make_folder
    from rope_eval.tuning.tune import tune

    make_folder(args.output)
    with progress_bar(recipe.name, recipe.steps) as report:
        tune(
            recipe,
            args.text,
            args.output,
            accumulation=args.accumulation or 1,
            gradient_checkpointing=args.gradient_checkpointing,
            on_step=steps(report, recipe.name),
        )
    say(f"Wrote {directory}. Run it under: --rope {_said(recipe)}")
    return 0


def _tuning_recipe(preset: str, args: argparse.Namespace) -> Recipe:
    """Return B.1's recipe with what the user changes of it."""
    from rope_eval.rope.fields import parse_fields
    from rope_eval.rope.spec import RopeSpec
    from rope_eval.tuning.recipes import PAPER, tuning_name

    recipe = PAPER[preset]
    fields = recipe.rope.to_dict()
    if args.base_model is not None:
        fields |= _as_pretrained(args.base_model)
        if args.preset is None:
            fields["tune_length"] = fields["train_length"]
    fields |= parse_fields(args.rope)
    if args.rope_theta is not None:
        fields["rope_theta"] = args.rope_theta
    if args.tune_length is not None:
        fields["tune_length"] = parse_length(args.tune_length)
    rope = RopeSpec.from_dict(fields)
    changed = replace(
        recipe,
        name=tuning_name(rope),
        rope=rope,
        start_from=args.base_model or recipe.start_from,
        steps=args.steps or recipe.steps,
        seed=recipe.seed if args.seed is None else args.seed,
        learning_rate=(recipe.learning_rate if args.learning_rate is None else args.learning_rate),
    )
    step = recipe.batch_size * recipe.length  # tokens, the same in every preset
    return replace(changed, batch_size=args.batch_size or max(1, step // changed.length))


def _as_pretrained(model: str) -> dict[str, Any]:
    """Return what the laws need to know of a model's pre-training, as its config says it."""
    from rope_eval.backends.config import rope_config
    from rope_eval.backends.hf.loading import check_checkpoint, load_config

    check_checkpoint(model)
    config = rope_config(load_config(model))
    length, theta = config.unscaled_length, config.rope_theta
    if length is None:
        raise SpecError(f"the config of {model} has no max_position_embeddings")
    return {"train_length": length} | ({"pretrain_theta": theta} if theta else {})


def _said(recipe: Recipe) -> str:
    """Return what a command needs to be told of a checkpoint beside its config."""
    fields = recipe.rope.replace(rope_theta=None, linear_factor=1.0)
    return str(fields)
