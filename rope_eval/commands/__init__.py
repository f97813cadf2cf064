"""The subcommands of rope-eval: one module a command, each with add_parser and run."""

from rope_eval.commands import demo, lab, list, lm_eval, ppl, table, theory

COMMANDS = (theory, list, ppl, lm_eval, table, lab, demo)
