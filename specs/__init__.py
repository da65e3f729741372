"""What the world publishes: model families, their variants and the rules of formats and engines."""
