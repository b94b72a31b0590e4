"""Tasks: what a network is asked to do, and how it is scored."""
