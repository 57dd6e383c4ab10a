"""A whole run into one directory: train, evaluate, save, report."""
