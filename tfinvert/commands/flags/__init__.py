"""The help and the flags of each command: without TensorFlow, so that `--help` is fast."""
