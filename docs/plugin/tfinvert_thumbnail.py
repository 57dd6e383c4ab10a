"""Mean colours of the cells of an image, as a feature of tfinvert."""

from keras import ops

from tfinvert.errors import InputError
from tfinvert.features import Feature, FeatureSpec


class Thumbnail(Feature):
    """Mean colour per cell: `[B, H, W, 3]` to `[B, H / cell_size, W / cell_size, 3]`."""

    name = "thumbnail"

    def __init__(self, image_shape=(64, 64, 3), cell_size: int = 8):
        super().__init__(image_shape)
        if cell_size < 1 or any(side % cell_size for side in self.image_shape[:2]):
            raise InputError(
                "thumbnail takes images whose sides are multiples of cell_size. Received: "
                f"{self.image_shape[0]}×{self.image_shape[1]} pixels, cell_size {cell_size}"
            )
        self.cell_size = cell_size

    @property
    def spec(self):
        """The shape of the grid."""
        rows, columns = (side // self.cell_size for side in self.image_shape[:2])
        return FeatureSpec((rows, columns, 3))

    def compute(self, images):
        """Averages the pixels of each cell."""
        return ops.average_pool(images, self.cell_size, data_format="channels_last")

    def get_config(self):
        """The options that rebuild the feature."""
        return super().get_config() | {"cell_size": self.cell_size}
