"""Train a method without phases: in this process, on all training items at once, in place of `train_worker`.

Writes the same model artifact, and unified.safetensors {code (n, P) uint8, row (n,) int64} where the method
learns codes of both modalities together: those of the training items.
"""

import time

import numpy as np
import torch
from safetensors.numpy import save

from cmh.codes import hamming
from cmh.training import solver
from flows.train_worker import Job, build, model_of, read_data, write_model
from infra.storage import Store


def solve(store: Store, job: Job) -> None:
    """Read the features, solve, write the model's files into the draft.

    Raises:
        ValueError: as `cmh.training.solver.fit`.
    """
    torch.set_num_threads(job.threads)
    data = read_data(store, job)
    backbone, method = build(job, data)
    began = time.perf_counter()
    unified_NK = solver.fit(method, data.train, job.experiment.seed)
    seconds = time.perf_counter() - began
    write_model(store, job, model_of(job, method, backbone, data), [], [seconds])
    if unified_NK is not None:
        code_NP = np.ascontiguousarray(hamming.pack(unified_NK))  # safetensors writes memory as it lies
        held = save({"code": code_NP, "row": data.train.row})
        store.write_bytes(f"{job.prefix}/unified.safetensors", held)
