"""``rope-eval spec``: a setting as fields, and as a model's config says it."""

from __future__ import annotations

import argparse
import json

from rope_eval.commands.configs import read_config
from rope_eval.commands.options import add_shared
from rope_eval.errors import SpecError
from rope_eval.rope.config_form import config_of_spec, spec_of_config
from rope_eval.rope.fields import parse_fields
from rope_eval.rope.spec import RopeSpec

EPILOG = """\
examples:
  rope-eval spec --model DIR                       # what its config amounts to
  rope-eval spec --config llama2-7b/base-500-log   # what a row of the catalogue says
  rope-eval spec --rope longrope_factors=@my.json  # a setting as it is recorded
  rope-eval spec --model DIR --rope yarn_factor=4 --to-config

The last is what the config.json of a plain checkpoint must say for transformers or vLLM to run the
setting.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "spec",
        help="the setting that a config amounts to, and the other way",
        description="Print a setting as RopeSpec fields, or as a config.json says it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_shared(parser, "--model", "--config")
    add_shared(
        parser, "--rope", help="RopeSpec fields, such as yarn_factor=4; they win over a row's"
    )
    parser.add_argument(
        "--to-config",
        action="store_true",
        help="print what the model's config.json must say for the setting to be its own",
    )
    add_shared(parser, "--json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the setting, or the part of a config; return the exit status.

    Raises:
        SpecError: for a setting that makes no sense, or that no field or no config says.
        DataError: there is no such row, or the model's config.json cannot be read.
    """
    spec = RopeSpec.parse(args.rope)
    if args.config is not None:
        from rope_eval import catalogue

        row = catalogue.find(args.config)
        spec = RopeSpec.from_dict({**row.fields, **parse_fields(args.rope)})
    if args.to_config:
        if args.model is None and args.config is None:
            raise SpecError(
                "--to-config needs the checkpoint's base and length: give --model DIR, or --config "
                "NAME for a row of the catalogue"
            )
        config = read_config(row.require_checkpoint() if args.model is None else args.model)
        print(json.dumps(config_of_spec(spec, config), indent=2))
        return 0
    if args.model is not None and args.config is not None:
        raise SpecError("--config and --model say a setting each: give one, or --to-config")
    if args.model is not None:
        if args.rope:
            raise SpecError("--model says the setting of its config, and --rope another: give one")
        spec = spec_of_config(read_config(args.model))
    print(json.dumps(spec.to_dict(), indent=2) if args.json else spec)
    return 0
