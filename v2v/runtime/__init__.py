"""The machine: devices and sharding, the compilation cache, progress, and counts of operations."""
