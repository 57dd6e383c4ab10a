"""Complete runs, each in a directory of its own: training, experiments and comparisons."""
