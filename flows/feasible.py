"""What can be refused before any work: settings that do not go together, or not with this machine."""

from functools import cache

from cmh import methods
from cmh.data import readers
from flows import sources
from flows.experiments import Experiment, Resources
from infra import ray_cluster


def check(experiment: Experiment, resources: Resources) -> None:
    """Refuse a run that would end in an error once its data is there.

    Raises:
        ValueError, OSError: by `Experiment.check` and `Resources.check`; by
        `cmh.training.trainer.Config.check`; a
            network's file that is not there; a Ray that cannot be used from here.
    """
    experiment.check()
    resources.check()
    if not readers.brings_features(experiment.entry.reader):
        sources.identity_of_weights(experiment.backbone)
        if experiment.text.is_network:
            sources.identity_of_weights(experiment.text)
    if not methods.is_shallow(experiment.method):
        experiment.trainer_config.check(resources.workers, resources.gpu)
        if resources.ray is not None:
            _join(resources.ray)


@cache  # a comparison asks for each of its runs
def _join(address: str) -> None:
    """Connect and leave again: a Ray may answer and still take no work from this machine."""
    with ray_cluster.connect(address):
        pass
