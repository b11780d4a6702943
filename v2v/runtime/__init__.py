"""The machine: sharding, platform, compilation cache, progress, counts of operations, environment variables."""
