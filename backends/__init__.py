"""What this machine can do about a model: fit it, fetch it, keep it, run it."""
