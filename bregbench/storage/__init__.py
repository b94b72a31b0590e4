"""Storage: a run's folder, its weights, traces and mirror."""
