"""Which layers ask for no size: by name, so that a saved network can be looked at without Keras."""

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
