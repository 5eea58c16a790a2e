"""Training: the trainer, the solver of shallow methods, checkpoints, validation, failures."""
