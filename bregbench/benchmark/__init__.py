"""What a step of the Bregman optimisers costs, against torch's own fused optimisers.

`python -m bregbench.benchmark` (or `make benchmark`) measures on one thread and writes a table with a goal
and a verdict per row. Absolute milliseconds drift with the load of the machine; ratios of interleaved
measurements do not, so goals are about ratios.
"""
