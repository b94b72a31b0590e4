"""Rivals: what other people do to train sparse networks, beside the methods of the five papers.

`budgets`, `masks`, `rewiring`, `snip` and `latents` are the algorithms: they import torch and `bregman`
alone and work in anybody's loop. The other modules bring them to the bench.
Rivals of the dual family (RDA, gRDA, RMDA, RAMDA, xRDA) are optimisers of `bregman`.
"""
