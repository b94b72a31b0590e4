"""Figures of the papers, drawn from records."""
