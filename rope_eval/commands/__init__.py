"""The subcommands of rope-eval: one module a command, each with add_parser and run."""

from rope_eval.commands import (
    advise,
    attention,
    compare,
    context,
    continuation,
    data,
    demo,
    estimate,
    figure,
    import_runs,
    lab,
    list,
    lm_eval,
    opencompass,
    path,
    ppl,
    report,
    run,
    serve,
    spec,
    status,
    store,
    table,
    theory,
    tune,
)

JOBS = {
    "ask the laws": (theory, advise, spec),
    "measure": (ppl, attention, continuation, estimate, run, status),
    "through other programs": (lm_eval, opencompass, serve, import_runs),
    "show": (table, compare, context, figure, report),
    "models and files": (list, tune, data, store, path),
    "see it work": (demo, lab),
}
"""The commands by what they are for, as `rope-eval --help` has them."""
