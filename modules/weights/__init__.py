"""Checkpoints: what is in the folders, what a file holds, and the model that comes out of it.

Only `catalog` may be imported before the page is up; the others pull in torch, diffusers and transformers.
"""
