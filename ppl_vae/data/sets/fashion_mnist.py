"""Fashion-MNIST, 70,000 clothes in grey levels: 50,000 to train on, the last 10,000 for validation, 10,000 to test.

The default rule is 'dynamic', as in the Exemplar VAE paper, so that likelihoods can be compared with it; the rule suits
a Bernoulli likelihood, the default of our recipes. The VampPrior report does not state its binarisation: load the
set with binarisation='none' for grey levels in [0, 1].

References:
    "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", Han Xiao, Kashif Rasul, Roland
    Vollgraf, 2017.
    "Exemplar VAE: Linking Generative Models, Nearest Neighbor Retrieval, and Data Augmentation", Sajad Norouzi, David
    Fleet, Mohammad Norouzi, 2020.

"""

from __future__ import annotations

import os

from ppl_vae.data.files import idx
from ppl_vae.data.parts import Parts

ADDRESSES = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
# Bytes and SHA-256 of the four files, which have the MD5 that the authors publish.
CONTAINERS = {
    "train-images-idx3-ubyte.gz": (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    "train-labels-idx1-ubyte.gz": (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    "t10k-images-idx3-ubyte.gz": (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    "t10k-labels-idx1-ubyte.gz": (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
}
# SHA-256 of the arrays in them, uint8, in the order of the files.
SHA256 = {
    "train-images-idx3-ubyte.gz": "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
    "train-labels-idx1-ubyte.gz": "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
    "t10k-images-idx3-ubyte.gz": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
    "t10k-labels-idx1-ubyte.gz": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
}
SOURCE = idx.source("fashion_mnist", ADDRESSES, CONTAINERS)


def read(root: str | os.PathLike[str] | None = None) -> Parts:
    """Return the three parts, uint8 (N, 28, 28) in 0..255, and their classes 0..9; raises as ``idx.read`` does."""
    return idx.read(SOURCE, SHA256, root)
