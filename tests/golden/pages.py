"""The pages and tables of a tiny report, of a report on embeddings, of a comparison, and of a model."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from cmh import methods
from cmh.evaluation import comparison, diagnostics_page, paired_tests
from cmh.evaluation.paired_tests import ScoredQueries
from cmh.evaluation.report_page import embedding_page, markdown, report_page
from cmh.hashing.model_facts import Facts
from cmh.methods import display_name
from cmh.training.trainer import Epoch
from flows.experiment import Experiment
from flows.run import resolve
from flows.stages.model_card import card
from infra.artifacts import Ref
from tests.golden import science

FOLDER = Path(__file__).parent / "pages"
CODES = Ref(kind="codes", name="scahn-emoji", identity="a" * 64, content="b" * 64)
FACTS = {
    "bits": science.BITS,
    "method": "scahn",
    "model": "model/scahn-emoji/0",
    "dataset": "dataset/emoji/0",
}


def _run(method: str, seed: int, value: float | None, direction: str, bits: int = 16) -> dict[str, object]:
    return {"dataset": "emoji", "method": method, "bits": bits, "seed": seed, "direction": direction} | {
        "map": value, "ndcg_at_100": value and value / 2, "chance": 0.1, "minutes": 1.5 + seed,
        "recipe": "short" if method == "dcmh" else "tuned, 20 trials of 15 epochs",
        "error": None if value is not None else "collapsed",
    }  # fmt: skip


def comparison_tables() -> tuple[pa.Table, pa.Table, pa.Table]:
    """RUNS, SUMMARY and PAIRS of three methods: one with three seeds, one real-valued, one that failed."""
    rows = [
        run
        for direction in ("image_to_text", "text_to_image")
        for run in (
            *(_run("scahn", seed, 0.5 + 0.1 * seed, direction) for seed in range(3)),
            _run("acmr", 0, 0.41, direction, 32),
            _run("dcmh", 0, None, direction),
        )
    ]
    runs = pa.Table.from_pylist(rows, comparison.RUNS)
    rng = np.random.default_rng(0)
    queries = np.array([f"query {number}" for number in range(40)])
    scored = [
        ScoredQueries("emoji", method, 16, "image_to_text", queries, queries, better + rng.random(40) / 4)
        for method, better in (("scahn", 0.5), ("scahn", 0.6), ("dspah", 0.4), ("acmr", 0.56))
    ]
    return runs, comparison.summary(runs), paired_tests.pairs(scored)


def _comparison() -> dict[str, str]:
    _, summed, tested = comparison_tables()
    names = {name: display_name(name) for name in summed["method"].to_pylist()}
    rows = {d: comparison.table(summed, "emoji", d, names=names) for d in comparison.ARROWS}
    paired = paired_tests.table(tested, summed, "emoji", "image_to_text", names=names)
    shown = [*(markdown(table) for table in rows.values()), paired_tests.LEGEND, markdown(paired)]
    return {
        "comparison.md": "\n\n".join(shown) + "\n",
        "comparison.tex": "\n\n".join(comparison.latex(table, f"MAP, {d}.") for d, table in rows.items())
        + "\n",
    }


def _models() -> dict[str, str]:
    """Cards of a trained method with words, of one over CLIP's features, and of a shallow one."""
    history = [
        Epoch(
            number=n, terms={"image/nll": 1.0 / n}, learning_rates={"image": 0.01},
            validation={"map_image_to_text": 0.3 + n / 10, "map_text_to_image": 0.35},
        )
        for n in (1, 2)
    ]  # fmt: skip
    common = {
        "pretrained": "default", "stored_size": 96, "text_dim": 12, "labels": 44, "order": tuple(range(64)),
        "significance": None, "revision": 1, "image_size": 128,
    }  # fmt: skip
    cards = {}
    for name, experiment, changes in (
        ("scahn", Experiment(), {"grid": 1}),
        ("dvsh", Experiment(method="dvsh", recipe="paper"), {"grid": None, "length": 32}),
        ("seph", Experiment(method="seph", seed=2), {"grid": 1, "text": "clip_vit_b32"}),
    ):
        facts = Facts(
            method=name, settings=json.loads(json.dumps(vars(experiment.config))),
            backbone=experiment.backbone.name, **common | changes,
        )  # fmt: skip
        cards[f"model_{name}.md"] = card(
            resolve(experiment), facts, [] if methods.is_shallow(name) else history
        )
    return cards


def _parquet(tables: Iterable[pa.Table]) -> str:
    """Columns and types of the tables; their numbers are in `science.json`."""
    return "\n".join(f"{table.schema.to_string()}\n{table.num_rows} rows\n" for table in tables)


def pages() -> dict[str, str]:
    """File name → content."""
    report, embeddings = science.report_tables(), science.embedding_tables()
    explained = science.diagnostic_tables()
    return {
        "report.md": report_page(
            CODES.name,
            CODES.address,
            FACTS,
            report.metrics,
            ["map_by_bits.png", "pr_curves.png"],
            diagnostics_page.sections(explained, report.metrics, science.BITS),
        ),
        "embeddings.md": embedding_page(
            CODES.name,
            CODES.address,
            FACTS | {"method": "acmr"},
            embeddings.metrics,
            ["precision_at_n.png"],
            diagnostics_page.labels(explained.labels),
        ),
        "report_tables.txt": _parquet((*report, *explained)),
        **_comparison(),
        **_models(),
    }
