"""Flow matching: path and loss, schedules, solvers, guidance, and the sampler."""
