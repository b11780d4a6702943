"""Programs that JAX has compiled and holds in memory, one for each function and each shape of its arguments, for as long as the process runs."""

import jax


def count_programs() -> int:
    """Return how many compiled programs this process holds."""
    return len(jax.devices()[0].client.live_executables())


def bound_programs(limit: int) -> bool:
    """Forget all programs where there are more than so many; those that are needed again are read from the compilation cache.

    Nothing must be computed meanwhile.

    Args:
      limit: programs that may stay.

    Returns:
      Whether they were forgotten.
    """
    if count_programs() <= limit:
        return False
    jax.clear_caches()
    return True
