"""Reproducing: what is missing, trained; the queue; searches."""
