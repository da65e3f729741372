"""Estimates of memory: pure formulas, each with its source."""
