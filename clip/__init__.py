"""CLIP: cheap Lipschitz training of neural networks (Bungert, Raab, Roith, Schwinn and Tenbrinck).

Part of bregbench; it holds no code yet, see CHANGELOG.md.
"""
