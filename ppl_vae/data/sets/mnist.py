"""MNIST, 70,000 handwritten digits in grey levels: 50,000 to train on, the last 10,000 for validation, 10,000 to test.

The default rule is 'dynamic': training images are drawn from the grey levels afresh in each epoch, validation and test
images once, as in Burda et al. and in the VampPrior paper's dynamic MNIST. Its numbers are not those of 'static_mnist',
whose binarisation is fixed and published.

References:
    "Gradient-Based Learning Applied to Document Recognition", Yann LeCun, Léon Bottou, Yoshua Bengio, Patrick Haffner,
    1998.
    "On the Quantitative Analysis of Deep Belief Networks", Ruslan Salakhutdinov and Iain Murray, 2008.
    "Importance Weighted Autoencoders", Yuri Burda, Roger Grosse, Ruslan Salakhutdinov, 2016.
    "VAE with a VampPrior", Jakub Tomczak and Max Welling, 2018.

"""

from __future__ import annotations

import os

from ppl_vae.data.files import idx
from ppl_vae.data.parts import Parts

# The canonical address has refused or lacked the files since 2024; mirrors of the same bytes: PyTorch's, the CVDF's.
ADDRESSES = (
    "http://yann.lecun.com/exdb/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# Bytes and SHA-256 of the four files, which have the MD5 published for the original distribution.
CONTAINERS = {
    "train-images-idx3-ubyte.gz": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    "train-labels-idx1-ubyte.gz": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    "t10k-images-idx3-ubyte.gz": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    "t10k-labels-idx1-ubyte.gz": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
}
# SHA-256 of the arrays in them, uint8, in the order of the files.
SHA256 = {
    "train-images-idx3-ubyte.gz": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "train-labels-idx1-ubyte.gz": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "t10k-images-idx3-ubyte.gz": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "t10k-labels-idx1-ubyte.gz": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}
SOURCE = idx.source("mnist", ADDRESSES, CONTAINERS)


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return the three parts, uint8 (N, 28, 28) in 0..255, and their classes 0..9; raises as ``idx.read`` does."""
    return idx.read(SOURCE, SHA256, root)
