"""Fitting an inversion network: one explicit loop for every tf.distribute strategy."""
