"""What is asked of a load where nobody says otherwise; imported before the first frame, so alone in its file."""

DEFAULT_CONTEXT = 8192
"""Tokens to judge at when nobody asked for another number and the family allows them."""
