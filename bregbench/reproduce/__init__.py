"""Reproducing tables: training of missing runs, the queue of runs, searches for settings."""
