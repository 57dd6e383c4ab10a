"""A folder of photographs, and a short training run on them by the program."""

import pytest
import skimage.data
from PIL import Image

from tests.programs import run

TRAIN = ("recipes/train_inverter.py", "--feature=hog", "--image_size=32", "--steps=4")
TRAIN += ("--batch_size=8", "--width=0.125", "--log_every=2", "--network=paper")
TRAIN += ("--optimizer=adam", "--weights_dtype=float16", "--data=folder:images")


@pytest.fixture(scope="package")
def place(tmp_path_factory):
    """A folder with photographs of all kinds, one of them damaged."""
    place = tmp_path_factory.mktemp("user")
    images = place / "images" / "deep"
    images.mkdir(parents=True)
    photos = {
        "cat.jpg": skimage.data.chelsea(),
        "cup.png": skimage.data.coffee(),
        "face.jpg": skimage.data.astronaut(),
        "grey.png": skimage.data.astronaut()[..., 0],
        "small.jpg": skimage.data.rocket()[:50, :70],
    }
    for name, photo in photos.items():
        Image.fromarray(photo).save(images / name)
    (place / "one").mkdir()
    Image.fromarray(photos["cat.jpg"]).save(place / "one" / "cat.jpg")
    (images / "broken.jpg").write_bytes((images / "cat.jpg").read_bytes()[:2000])
    return place


@pytest.fixture(scope="package")
def trained(place):
    """The program's result."""
    finished = run(*TRAIN, "--workdir=run", cwd=place)
    assert finished.returncode == 0, finished.stderr
    return finished
