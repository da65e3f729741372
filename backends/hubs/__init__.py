"""The hubs that publish weights."""
