"""OpenCompass: a model, data sets and evaluators."""
