"""Timing of optimiser steps against torch's fused ones."""
