"""Preprocessors of ControlNet: a picture in, a control map out. Those in this room need no weights and no torch.

`registry.py` lists all of them, `modules.networks.annotators` computes those that have a network.
"""
