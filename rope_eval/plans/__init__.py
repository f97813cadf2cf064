"""Plans: models, settings and measurements in one file, done once, by any number of processes."""
