"""tensorpress."""
