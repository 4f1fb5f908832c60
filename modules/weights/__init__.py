"""Files of weights: the catalog of checkpoints and VAEs, hashes, reading and merging.

`catalog` and `hashes` do not import torch, so that the page starts quickly; the others do.
"""
