"""Execution plans, and the cache of what was measured for them."""
