"""What training a grid would do, as YAML that transformers takes as it is."""

from __future__ import annotations

from collections.abc import Sequence

from rope_eval.tuning.arguments import training_arguments
from rope_eval.tuning.plan import as_yaml
from rope_eval.tuning.recipe import Recipe
from studies.scaling_laws.recipes.grids import Grid


def grid_plan(recipes: Sequence[Recipe], grid: Grid) -> str:
    """Return a grid's recipes, each with its `transformers.TrainingArguments`."""
    plan = {
        "text": grid.text,
        "model": {"hidden_size": grid.hidden_size, "num_hidden_layers": grid.layers},
        "tokens": sum(recipe.tokens for recipe in recipes),
        "checkpoints": [
            {
                "name": recipe.name,
                "start_from": recipe.start_from,
                "rope": recipe.rope.to_dict(),
                "tokens_per_window": recipe.length,
                "training_arguments": training_arguments(recipe),
            }
            for recipe in recipes
        ],
    }
    return as_yaml(plan)
