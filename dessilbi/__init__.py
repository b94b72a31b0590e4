"""DessiLBI: exploring structural sparsity of deep networks via inverse scale spaces (Fu et al.).

Part of bregbench; it holds no code yet, see CHANGELOG.md.
"""
