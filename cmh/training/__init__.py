"""Training: the trainer, the solver for methods without phases, checkpoints, validation and failures."""
