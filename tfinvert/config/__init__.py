"""Names, defaults and specifications of flags, without TensorFlow."""
