"""The subcommands of rope-eval: one module a command, each with add_parser and run."""

from rope_eval.commands import (
    attention,
    compare,
    data,
    demo,
    import_runs,
    lab,
    list,
    lm_eval,
    opencompass,
    path,
    ppl,
    serve,
    store,
    table,
    theory,
    tune,
)

COMMANDS = (
    theory,
    list,
    ppl,
    serve,
    attention,
    lm_eval,
    opencompass,
    import_runs,
    table,
    compare,
    store,
    data,
    tune,
    lab,
    demo,
    path,
)
