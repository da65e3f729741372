"""Engines behind one contract: one adapter a library."""
