"""A compressed network on its way into use: measured time, and export."""

from tensorpress.deploy.latency import interleaved_seconds

__all__ = ["interleaved_seconds"]
