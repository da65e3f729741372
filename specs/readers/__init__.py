"""Readers of spec files, one module a kind."""
