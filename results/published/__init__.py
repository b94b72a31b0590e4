"""The numbers that papers print, a CSV file a table; installed as `bregbench.published`."""
