"""Methods, models, evaluators and phases of each paper; outside this folder, only the registry uses them."""
