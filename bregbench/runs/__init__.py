"""Runs: train one, judge it, load it, keep a record, pack, export."""
