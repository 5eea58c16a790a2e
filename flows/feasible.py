"""What can be refused before any work: settings that do not go together, or not with this machine."""

from flows import sources
from flows.experiments import Experiment, Resources


def check(experiment: Experiment, resources: Resources) -> None:
    """Refuse a run that would end in an error once its data is there.

    Raises:
        ValueError, OSError: by `Experiment.check` and `Resources.check`; a backbone's file that is not there;
            a batch that the workers cannot share; bfloat16 without a GPU.
    """
    experiment.check()
    resources.check()
    sources.identity_of_weights(experiment.backbone)
    batch, workers = experiment.training.batch_size, resources.workers
    if batch % workers:
        raise ValueError(
            f"a batch of {batch} cannot be split evenly over {workers} workers; use "
            f"{workers * max(1, round(batch / workers))}"
        )
    if experiment.training.precision == "bfloat16" and not resources.gpu:
        raise ValueError("precision bfloat16 needs a GPU; add --gpu, or use float32 on a CPU")
