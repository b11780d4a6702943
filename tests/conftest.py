"""Eight CPU devices for every test, asked for before JAX starts."""

from v2v import sharding

sharding.cpu_devices(8)
