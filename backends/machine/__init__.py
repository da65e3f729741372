"""The hardware: one probe a vendor, and the values that they fill."""
