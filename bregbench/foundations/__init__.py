"""Foundations: errors, files, console, identity and streams, which everything else rests on."""
