"""The YAML files of the bench; installed as `bregbench.configs`, which is where Hydra looks for them."""
