"""What importing a part brings along: counted in a process of its own, so that no other test counts."""

import json
import subprocess
import sys

import pytest

# fsspec is not among them: Zarr brings it where it is installed.
ENGINES = {"prefect", "ray", "dask", "distributed", "s3fs", "flows", "infra", "data_catalog"}
_COUNT = """
import importlib, json, sys, time
began = time.perf_counter()
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps([time.perf_counter() - began, sorted(sys.modules)]))
"""


def imported(*names: str) -> tuple[float, list[str]]:
    """Seconds, and every module that importing these brings."""
    called = subprocess.run(
        [sys.executable, "-c", _COUNT, *names], capture_output=True, text=True, check=True
    )
    seconds, modules = json.loads(called.stdout)
    return seconds, modules


def tops(modules: list[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


@pytest.mark.parametrize(
    "names",
    [
        ("cmh.codes.hamming", "cmh.codes.search", "cmh.codes.index_files", "cmh.codes.approximate"),
        ("cmh.evaluation.metrics", "cmh.evaluation.report", "cmh.evaluation.stable_metrics"),
    ],
)
def test_counting_and_searching_codes_take_no_torch(names: tuple[str, ...]) -> None:
    """Nor any engine of the pipeline."""
    seconds, modules = imported(*names)
    assert not tops(modules) & (ENGINES | {"torch", "torchvision"})
    print(f"{names[0]} …: {len(modules)} modules, {seconds:.2f} s")


def test_searching_a_collection_takes_no_engine_of_the_pipeline() -> None:
    """Neither Prefect, Ray, Dask, a store nor the catalog, for a service or a notebook."""
    seconds, modules = imported("cmh.collection")
    assert not tops(modules) & ENGINES
    print(f"cmh.collection: {len(modules)} modules, {seconds:.2f} s")


def test_searching_a_collection_takes_no_network_library() -> None:
    """A query is encoded by ONNX Runtime: neither torch, scikit-learn, Zarr nor Prefect is imported."""
    _, modules = imported("flows.cli.search", "cmh.collection", "cmh.onnx.exported")
    assert not tops(modules) & {
        "torch", "torchvision", "sklearn", "zarr", "pandas", "prefect", "ray", "dask", "distributed", "s3fs"
    }  # fmt: skip


def test_the_service_takes_no_engine_of_the_pipeline() -> None:
    """Neither Prefect, Ray, Dask, a store nor the catalog."""
    seconds, modules = imported("cmh.service.app", "cmh.service.server")
    assert not tops(modules) & ENGINES
    print(f"cmh.service: {len(modules)} modules, {seconds:.2f} s")


def test_serving_a_collection_takes_no_network_library() -> None:
    """What `cmh serve` imports; it encodes by ONNX Runtime."""
    _, modules = imported("flows.cli.serve")
    assert not tops(modules) & {
        "torch", "torchvision", "sklearn", "zarr", "pandas", "prefect", "ray", "dask", "distributed", "s3fs"
    }  # fmt: skip


def test_a_run_loads_what_only_some_stages_use_when_they_do() -> None:
    """What `cmh demo` and `cmh run` import where all is there: nothing that draws, counts words or trains."""
    _, modules = imported("flows.cli.demo", "flows.cli.commands")
    assert not tops(modules) & {
        "matplotlib", "sklearn", "pandas", "tensorboard", "torchvision",
        "prefect", "ray", "dask", "distributed",
    }  # fmt: skip


def test_rays_workers_take_no_prefect() -> None:
    """What every training process imports."""
    _, modules = imported("flows.stages.train_worker")
    assert "prefect" not in tops(modules)


def test_help_takes_neither_torch_nor_an_engine() -> None:
    """`cmh --help` answers at once."""
    _, modules = imported("flows.cli.app")
    assert not tops(modules) & {"torch", "prefect", "ray", "dask", "distributed", "s3fs"}
