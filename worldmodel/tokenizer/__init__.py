"""Frames <-> codes: the VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937)."""
