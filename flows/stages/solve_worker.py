"""Fit a method without epochs, on all training items at once, or on those that a model has not learnt from.

Imported where methods are fitted, so nothing here needs Prefect or Ray.
"""

import io
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from cmh import model as models
from cmh.codes import hamming
from cmh.data.items import Items
from cmh.model import Model
from cmh.training import solver
from flows import start_models
from flows.stages.train_worker import TrainingData, TrainingJob, build, model_of, read_data, write_model
from infra import artifacts
from infra.storage import Store


def fit(store: Store, job: TrainingJob) -> None:
    """Fit a method without phases here, and write the model's files.

    Writes also, where the method learns codes of both modalities together: unified.safetensors {code (n, P)
    uint8, row (n,) int64}, those of the training items; and of a method that learns online learnt.parquet
    {id, code}, those of all items that this model and those before it have learnt from.

    Raises:
        ValueError: as `cmh.training.solver.fit`; a model to go on from that does not suit.
    """
    torch.set_num_threads(job.threads)
    data, before = read_data(store, job), None
    ids = artifacts.open_artifact(store, job.dataset).read_table("items.parquet")["id"].to_pylist()
    learnt = start_models.no_items()
    if job.run.start is not None:
        folder = job.run.start.folder(store)
        before = models.load(folder)
        learnt = start_models.learnt_items(folder, before.bits)
        data = _with_labels_of(before, data)
    known = dict(zip(learnt["id"].to_pylist(), learnt["code"].to_pylist(), strict=True))
    is_new = np.array([ids[row] not in known for row in data.train.row])
    new = data.train if is_new.all() else data.train.take(np.flatnonzero(is_new))  # which copies
    backbone, method = build(job, data)
    if before is not None:
        method.go_on_from(before.method)
    began = time.perf_counter()
    unified_NK = solver.fit(method, new, job.run.experiment.seed)
    seconds = time.perf_counter() - began
    write_model(store, job, model_of(job, method, backbone, data), [], [seconds])
    if unified_NK is None:
        return
    # safetensors writes memory as it lies
    code_NP = np.zeros((len(data.train), -(-unified_NK.shape[1] // 8)), np.uint8)
    code_NP[is_new] = hamming.pack(unified_NK)
    for place in np.flatnonzero(~is_new):
        code_NP[place] = np.frombuffer(known[ids[data.train.row[place]]], np.uint8)
    data_bytes = save({"code": code_NP, "row": data.train.row})
    store.write_bytes(f"{job.prefix}/unified.safetensors", data_bytes)
    if job.run.is_online:
        added = _table([ids[row] for row in new.row], code_NP[is_new])
        out = io.BytesIO()
        pq.write_table(pa.concat_tables([learnt, added]), out)
        store.write_bytes(f"{job.prefix}/{start_models.LEARNT}", out.getvalue())


def _with_labels_of(before: Model, data: TrainingData) -> TrainingData:
    """Return the data with the model's labels first, and those that are new after them."""
    names = (*before.labels, *(name for name in data.labels if name not in before.labels))
    column = [names.index(name) for name in data.labels]

    def renamed(items: Items) -> Items:
        label_NL = np.zeros((len(items), len(names)), np.uint8)
        label_NL[:, column] = items.label
        return replace(items, label=label_NL)

    return replace(data, train=renamed(data.train), validation=renamed(data.validation), labels=names)


def _table(ids: Sequence[str], code_NP: NDArray[np.uint8]) -> pa.Table:
    return pa.table([list(ids), [code.tobytes() for code in code_NP]], start_models.ITEMS)
