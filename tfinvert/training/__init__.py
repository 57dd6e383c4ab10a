"""Training of inverters, samplers and classifiers, with a custom loop for all strategies."""
