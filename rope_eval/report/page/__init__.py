"""One page about a store: `build` makes its model, `html` and `markdown` write it down."""
