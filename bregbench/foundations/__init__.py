"""Foundations: errors, files, console, identity and streams, which all other rooms import."""
