"""What the gallery shows, in which order, and what it says of each picture."""

from typing import NamedTuple

INTRODUCTION = """\
# Gallery

To a neural network a photograph is layers of numbers. What does each layer still know of it? Here
other networks have learnt to turn the numbers back into photographs. They give the average of all
that share the numbers: what is sharp is what the layer keeps, what is blurred is what it throws
away. The figures are those of [Dosovitskiy and Brox](https://arxiv.org/abs/1506.02753), remade with
this package on photographs that none of the networks has seen.

The photographs come with scikit-image and scikit-learn (the pavilion is by danielbuechele, the
flower by vultilion, both flickr.com, CC BY 2.0)."""


class Exhibit(NamedTuple):
    """One section of the gallery.

    Attributes:
      heading: of the section.
      experiment: whose figures are shown.
      titles: how the titles of these figures begin.
      chosen: which of the figures that begin so.
      text: what is done and what one sees, in a few sentences.
      finding: how the claim begins whose number goes with it; empty where there is none.
    """

    heading: str
    experiment: str
    titles: str
    chosen: slice
    text: str
    finding: str = ""


_FIRST = slice(1)

EXHIBITS = (
    Exhibit(
        "Down the layers",
        "layers",
        "Down the layers: inversion network",
        _FIRST,
        "Six photographs, and below them what a network rebuilds from one layer's numbers alone. "
        "Detail goes first, then shape; rough colours in rough places are what is left in the end, "
        "even in the probabilities of the classes.",
        "The error grows",
    ),
    Exhibit(
        "The same without a trained network",
        "layers",
        "Down the layers: gradient-based",
        _FIRST,
        "Here gradient descent searches for an image with the same numbers, from noise on. "
        "Nothing tells it what photographs look like: the deeper the layer, the less what it finds "
        "is like one, though it has the numbers.",
        "Inversion networks beat",
    ),
    Exhibit(
        "If the layers may learn, too",
        "layers",
        "Down the layers: autoencoder",
        _FIRST,
        "In an autoencoder the layers themselves were trained to keep the image. What comes back "
        "here and not above is what they could have kept, and gave up to tell classes apart.",
        "Autoencoders of the high",
    ),
    Exhibit(
        "A hue turned through the circle",
        "color",
        "One photograph with its hue turned",
        _FIRST,
        "The middle of one photograph is painted in every hue. A layer that knows its colour "
        "changes along with the first row; one that guesses it from what the rest of the "
        "photograph is keeps to the colours that such things have.",
        "The colour of the object",
    ),
    Exhibit(
        "An object moved",
        "position",
        "One object at several places",
        _FIRST,
        "One thing at four places, and on the right what it changes in each reconstruction. "
        "Convolutions show it where it is. Further down the change spreads: something is there, "
        "and it is known less and less where.",
        "Rough position survives",
    ),
    Exhibit(
        "Binarised against dropped",
        "perturb",
        "Rebuilt from perturbed features: fc6",
        _FIRST,
        "A layer's numbers, changed before they are inverted. Binarised, all active units say the "
        "same, and the image survives; with half of them dropped it changes far more. "
        "Which units are active tells more than how much.",
        "Dropping half",
    ),
    Exhibit(
        "What the improbable classes know",
        "probabilities",
        "Rebuilt from a part of the classes",
        slice(-1, None),
        "The probabilities of all classes, with some of them taken away or made equal. If only the "
        "likeliest classes mattered, the small probabilities of all the others could be made equal "
        "and nothing would be lost; compare the rows where either part is evened out.",
        "Dark knowledge, with no class",
    ),
    Exhibit(
        "From one photograph to another",
        "interpolate",
        "From one photograph to another, pair",
        slice(2),
        "What lies halfway between the numbers of two photographs? Where a layer knows places, one "
        "photograph lies on top of the other; where it knows things, one may turn into the other.",
        "Between two images",
    ),
    Exhibit(
        "Drawn at random",
        "sample",
        "Images of random features",
        slice(2),
        "Images of numbers that no photograph ever gave. Drawn each on its own, as the paper does, "
        "they make mixtures of everything; models of which units are active together give images "
        "more like those of real features, in the first row.",
        "Joint samples",
    ),
    Exhibit(
        "Single units",
        "units",
        "Single units",
        _FIRST,
        "All numbers are zero but one. A unit of a deep layer stands for a whole scene in its "
        "colours, a channel of a convolution for a colour or texture wherever it is switched on.",
    ),
    Exhibit(
        "Units of classes",
        "units",
        "Classes and their units",
        _FIRST,
        "Above, the average of the photographs that the network takes for one class; below, the "
        "image of that class's unit alone. Their common colours and rough shape are what the unit "
        "has learnt to expect; with so few photographs the averages show them only faintly.",
        "Units of classes",
    ),
    Exhibit(
        "Encoded and decoded again and again",
        "iterate",
        "After",
        _FIRST,
        "Each reconstruction is reconstructed in turn, many times. What this does not change is "
        "what layer and network agree on: deep layers end in a few images that stand for many, "
        "while in the first ones small errors grow and grow.",
    ),
    Exhibit(
        "Turned, moved, mirrored",
        "invariance",
        "One photograph, transformed",
        _FIRST,
        "One photograph under several changes. Low layers follow each of them; high layers follow "
        "less, since it matters less to them where a thing is and how it is turned.",
        "Low layers follow",
    ),
)
