"""Tasks: inputs, targets, loss and scores of a network."""
