"""Results of shipped inverters, to compare Keras backends.

The program, `python -m tests.inverter.results_by_backend TENSORFLOW.npz OUTPUT.npz`, works as where
TensorFlow is not installed.
"""

import sys

import numpy as np
import skimage.data

PHOTO = skimage.data.astronaut()


def compute(name, features=None):
    """Returns the results of a shipped inverter for images of 64×64 and, if it can, other sizes.

    Args:
      name: name of the inverter.
      features: the features to invert; by default those of the images.
    """
    import tfinvert
    from tfinvert.inverter import tiling

    inverter = tfinvert.load(name)
    images = np.stack([PHOTO[::8, ::8], PHOTO[4::8, 4::8]])
    results = {"features": inverter.encode(images)}
    features = results["features"] if features is None else features
    if not inverter.feature.in_graph:
        return results
    results["inverted"] = inverter.invert(features)
    results["reconstructions"] = inverter.reconstruct(images)
    if inverter.uncertainty_head:
        results["uncertainty"] = inverter.uncertainty(features)
    if inverter.flow:
        results["samples"] = inverter.sample(features, 2, seed=3, steps=2)
    if inverter.any_size:
        pair = inverter.reconstruct([PHOTO[100:170, 200:290], PHOTO[:64, :64]])
        results |= {f"image {i} of a list": image for i, image in enumerate(pair)}
        before, tiling.MAX_TILE_PIXELS = tiling.MAX_TILE_PIXELS, 64 * 64
        results["tiled"] = inverter.reconstruct(PHOTO[100:196, 200:272])
        tiling.MAX_TILE_PIXELS = before
    return results


def main(reference, output):
    """Computes the results of the inverters in a file, from the features in it."""
    results = {}
    with np.load(reference) as file:
        for key in file:
            name, _, quantity = key.partition("/")
            if quantity == "features":
                found = compute(name, file[key])
                results |= {f"{name}/{quantity}": value for quantity, value in found.items()}
    np.savez(output, **results)


class NoTensorFlow:
    """Finds no TensorFlow; Keras takes an entry of None in `sys.modules` for an import."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(name)


if __name__ == "__main__":
    sys.meta_path.insert(0, NoTensorFlow)
    main(*sys.argv[1:])
