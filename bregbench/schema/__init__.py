"""Schema: the typed config of a run, the registry of its groups, composing and checking."""
