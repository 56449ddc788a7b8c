"""What a network's layers are measured by, and fitted under."""
