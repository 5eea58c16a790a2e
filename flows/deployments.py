"""The flows that deployments name: one per method, and one per stage that is run alone.

`prefect.yaml` names them, such as `flows/deployments.py:train_scahn`.  A new method gets its line below; a
test holds the lines against `cmh.methods.available()`.
"""

from inspect import signature
from typing import Annotated, Any, Literal

from prefect import Flow, flow

from cmh import methods
from flows import pipeline
from flows.experiment import (
    BackboneSettings,
    EvaluationSettings,
    Experiment,
    Resources,
    TextSettings,
    TrainingSettings,
)

_FIELDS = Experiment.model_fields


def _method_flow(method: str) -> Flow[Any, Any]:
    """Return the flow `train-<method>`; its parameters, fields of an experiment, are the form in the UI."""

    def train_method(
        dataset: str = "emoji",
        bits: Annotated[int, _FIELDS["bits"]] = 64,
        seed: Annotated[int, _FIELDS["seed"]] = 0,
        recipe: Literal["short", "paper"] = "short",
        settings: dict[str, Any] | None = None,
        limit: Annotated[int | None, _FIELDS["limit"]] = None,
        backbone: BackboneSettings = BackboneSettings(),  # noqa: B008 - frozen
        text: TextSettings = TextSettings(),  # noqa: B008 - frozen
        training: TrainingSettings = TrainingSettings(),  # noqa: B008 - frozen
        evaluation: EvaluationSettings = EvaluationSettings(),  # noqa: B008 - frozen
        resources: Resources = Resources(),  # noqa: B008 - frozen
    ) -> None:
        experiment = Experiment(
            dataset=dataset, method=method, bits=bits, seed=seed, recipe=recipe, settings=settings or {},
            limit=limit, backbone=backbone, text=text, training=training, evaluation=evaluation,
        )  # fmt: skip
        pipeline.run_within_flow(experiment, resources, "report")

    # Prefect's form takes limits from the annotations, and descriptions from the docstring.
    known = [name for name in signature(train_method).parameters if name in _FIELDS]
    lines = [f"    {name}: {_FIELDS[name].description or name}" for name in known]
    train_method.__doc__ = "\n".join(["Train and measure the method.", "", "Args:", *lines])
    return flow(name=f"train-{method}", description=methods.load(method).__doc__, persist_result=False)(
        train_method
    )


def _stage_flow(name: str, until: str) -> Flow[Any, Any]:
    """Return a flow that runs the pipeline as far as one stage."""

    def stage(experiment: Experiment = Experiment(), resources: Resources = Resources()) -> None:  # noqa: B008
        pipeline.run_within_flow(experiment, resources, until)

    return flow(name=name, persist_result=False)(stage)


train_acmr = _method_flow("acmr")
train_adah = _method_flow("adah")
train_agah = _method_flow("agah")
train_cca = _method_flow("cca")
train_chn = _method_flow("chn")
train_cmfh = _method_flow("cmfh")
train_cmhh = _method_flow("cmhh")
train_cmssh = _method_flow("cmssh")
train_cvh = _method_flow("cvh")
train_dch = _method_flow("dch")
train_dcmh = _method_flow("dcmh")
train_dspah = _method_flow("dspah")
train_dvsh = _method_flow("dvsh")
train_gsph = _method_flow("gsph")
train_mlsph = _method_flow("mlsph")
train_prdh = _method_flow("prdh")
train_scahn = _method_flow("scahn")
train_scm = _method_flow("scm")
train_seph = _method_flow("seph")
train_ssah = _method_flow("ssah")
train_stmh = _method_flow("stmh")
train_tdh = _method_flow("tdh")

preprocess_flow = _stage_flow("preprocess", "dataset")
features_flow = _stage_flow("features", "features")
encode_flow = _stage_flow("encode", "codes")
evaluate_flow = _stage_flow("evaluate", "report")
