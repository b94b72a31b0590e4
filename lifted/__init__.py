"""Lifted Bregman training of neural networks (Wang and Benning).

Part of bregbench; it holds no code yet, see CHANGELOG.md.
"""
