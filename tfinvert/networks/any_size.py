"""Names of the Keras layers that accept grids of any size.

This module does not import Keras, so that a saved network can be inspected without it.
"""

ANY_SIZE_LAYERS = frozenset(
    {
        "InputLayer",
        "Conv2D",
        "Conv2DTranspose",
        "AveragePooling2D",
        "LeakyReLU",
        "Concatenate",
        "Activation",
        "Add",
        "Multiply",
    }
)
