"""Names, defaults and settings that need no TensorFlow."""
