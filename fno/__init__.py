"""Resolution-invariant image classification with Fourier neural operators (Kabri et al.).

Part of bregbench; it holds no code yet, see CHANGELOG.md.
"""
