"""Comparisons: which runs they make, what their tables say, and one from end to end."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from cmh.codes import hamming
from cmh.evaluation import comparison, histograms, metrics, ndcg, pair_metrics, paired_tests, report
from cmh.evaluation.counts import CodedItems
from cmh.evaluation.paired_tests import ScoredQueries
from cmh.hashing import encoding
from cmh.training import solver
from flows import compare, preflight
from flows.compare import Comparison
from flows.experiment import Experiment
from flows.run import resolve
from flows.stages import tables
from flows.variants import NESTED_WEIGHT
from infra import artifacts, stores
from infra.artifacts import Target
from infra.storage import Store
from tests.cmh.methods import shallow
from tests.flows import feature_pairs
from tests.flows.command_line import cmh
from tests.flows.feature_pairs import QUERY, TRAIN

QUERIES = np.array([str(number) for number in range(40)])


def test_every_method_meets_every_length_and_seed() -> None:
    """Runs that share a dataset follow one another; each is measured at its own length only."""
    wanted = Comparison(methods=("scm", "cca"), datasets=("emoji", "wiki"), bits=(16, 32), seeds=2)
    runs = [one.run.experiment for one in compare.resolve(wanted).runs]
    assert len(runs) == 16
    assert [run.dataset for run in runs] == ["emoji"] * 8 + ["wiki"] * 8
    assert len({(r.dataset, r.method, r.bits, r.seed) for r in runs}) == 16
    assert all(run.evaluation.bits == (run.bits,) for run in runs)
    with pytest.raises(ValueError, match="method 'schan' unknown"):
        compare.resolve(Comparison(methods=("schan",)))


def test_a_compared_run_is_that_of_cmh_run() -> None:
    """With a protocol and wrong labels, too: both find each other's artifacts."""
    asked = {"protocol": "validation", "label_noise": 0.5}
    (one,) = compare.resolve(
        Comparison(methods=("cca",), datasets=("wiki",), bits=(16,), seeds=1, **asked)
    ).runs
    alone = resolve(Experiment(dataset="wiki", method="cca", bits=16, evaluation={"bits": (16,)}, **asked))
    assert one.run == alone
    assert alone.entry.name == "wiki-validation-noise50"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("dvsh", "dvsh reads words in their order, and wiki brings text features"),
        ("adah", "adah looks at places of an image, and wiki brings image features"),
        ("dcmh", r"wiki has no validation items, by which dcmh .* add `validation: 0.1`"),
    ],
)
def test_a_method_that_the_dataset_does_not_suit_is_refused(method: str, message: str) -> None:
    """Before the first run, although another method, and another dataset, would do."""
    with pytest.raises(ValueError, match=message):
        compare.resolve(Comparison(methods=("scm", method), datasets=("emoji", "wiki")))
    assert compare.resolve(Comparison(methods=("scm", method), datasets=("emoji",))).runs


@pytest.mark.parametrize(("attention", "grid"), [("both", 4), ("image", 4), ("text", 1), ("none", 1)])
def test_maps_are_asked_for_where_the_settings_look_at_places(attention: str, grid: int) -> None:
    """ADAH without attention to images reads averages, which datasets of features have too."""
    experiment = Experiment(method="adah", settings={"attention": attention})
    assert resolve(experiment).grid == grid
    with pytest.raises(ValueError, match="looks at places" if grid > 1 else "no validation items"):
        preflight.check_settings(resolve(experiment.model_copy(update={"dataset": "wiki"})))


def test_nothing_takes_part_twice(tmp_path: Path) -> None:
    """The same seeds twice would narrow the intervals; an own file may not have the name of another entry."""
    with pytest.raises(ValueError, match="methods named scm take part twice"):
        compare.resolve(Comparison(methods=("scm", "cca", "scm")))
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(feature_pairs.entry(tmp_path) | {"name": "emoji"}))
    with pytest.raises(ValueError, match="datasets named emoji take part twice"):
        compare.resolve(Comparison(methods=("scm",), datasets=("emoji", str(tmp_path / "own.yaml"))))


def test_variants_change_the_settings() -> None:
    """An ablation is the method with other settings; an unknown one is refused, with those it has."""
    (one,) = compare.resolve(Comparison(methods=("dspah:hard_similarity",), bits=(32,), seeds=1)).runs
    assert one.run.experiment.method == "dspah"
    assert one.run.config.similarity == "hard"
    with pytest.raises(ValueError, match="it has: without_attention, last_level, hard_similarity, prefix"):
        compare.resolve(Comparison(methods=("dspah:soft",)))


def test_short_codes_of_one_long_model() -> None:
    """Prefixes are read from the longest model alone, of nested codes with the loss on each prefix."""
    wanted = Comparison(methods=("scahn:prefix", "scahn:random_bits", "scahn:nested"), seeds=1)
    prefix, random_bits, nested = compare.resolve(wanted).runs
    assert {(one.run.experiment.bits, one.lengths) for one in (prefix, nested)} == {(64, (16, 32, 64))}
    assert prefix.run.experiment == random_bits.run.experiment
    assert prefix.run.experiment.training.prefixes == {}
    assert nested.run.experiment.training.prefixes == {"16": NESTED_WEIGHT, "32": NESTED_WEIGHT}
    assert (prefix.variant.ranking, random_bits.variant.ranking) == ("stored", "random")
    for method in ("scm:nested", "scm:random_bits"):
        with pytest.raises(ValueError, match="it has: prefix"):
            compare.resolve(Comparison(methods=(method,)))
    with pytest.raises(ValueError, match="acmr has no variant 'prefix'; it has: none"):
        compare.resolve(Comparison(methods=("acmr:prefix",)))


def test_one_length_nests_nothing() -> None:
    """A nested code of a single length, however often it is given, is refused with what to do."""
    with pytest.raises(ValueError, match="64 bits are the only length; give more lengths, or take scahn"):
        compare.resolve(Comparison(methods=("scahn:nested",), bits=(64, 64)))


def test_tables_hold_our_runs_and_what_papers_print(local_store: Store) -> None:
    """Mean over seeds and the paper's row in both files; a failed run is told; one figure per dataset."""
    rows = [
        {"dataset": "mirflickr25k", "method": method, "bits": 16, "seed": seed, "direction": direction}
        | {
            "map": value,
            "ndcg_at_100": value and 0.6,
            "chance": 0.5,
            "minutes": 1.0,
            "recipe": "short",
            "error": None if value else "collapsed",
        }
        for method, values in {"dspah": (0.7, 0.8), "scahn": (0.3, 0.2), "adah": (None, None)}.items()
        for seed, value in enumerate(values)
        for direction in ("image_to_text", "text_to_image")
    ]
    runs = pa.Table.from_pylist(rows, comparison.RUNS)
    pairs = paired_tests.pairs(
        [
            ScoredQueries("mirflickr25k", method, 16, direction, QUERIES, QUERIES, score_Q)
            for method, score_Q in (("dspah", np.full(40, 0.75)), ("scahn", np.full(40, 0.25)))
            for direction in ("image_to_text", "text_to_image")
        ]
    )
    target = Target("comparison", "mirflickr25k", {}, {}, 1)
    ref = tables.make.compute(local_store, target, runs, pairs, ("mirflickr25k",)).ref
    made = artifacts.open_artifact(local_store, ref)
    page = made.read_bytes("README.md").decode()
    assert "0.750 ± 0.635" in page  # t of one degree of freedom, 12.706, times .05
    assert "0.600 ± 0.000" in page
    assert "Deep Similarity Preserving" not in page.split("NDCG@100")[1]  # papers print MAP
    assert "0.798" in page
    assert "failed" in page
    assert "Deep Similarity Preserving" in page
    assert r"0.750 $\pm$ 0.635" in made.read_bytes("comparison.tex").decode()
    assert "Which differences hold" in page
    assert "| dspah | – |" in page
    assert made.read_table("runs.parquet").num_rows == 12
    assert made.read_table("pairs.parquet")["holds"].to_pylist() == [True, True]
    assert {"map_mirflickr25k.png", "map_mirflickr25k.svg"} <= set(made.files)


def test_data_without_labels_gives_recall_and_scores_of_pairs() -> None:
    """What a run adds: R@k in place of MAP, and for the paired test whether each pair is among ten."""
    rng = np.random.default_rng(0)
    codes = {side: hamming.pack(rng.random((40, 16)) > 0.5) for side in ("image", "text")}
    items = CodedItems(codes, np.empty((40, 0), np.uint8), group_N=np.arange(40) // 2, id_N=QUERIES)
    metrics_table, _, _, pairs = report.with_pairs(None, *pair_metrics.measure(items, (16,)))
    (one,) = compare.resolve(Comparison(methods=("joint",), bits=(16,), seeds=1)).runs
    row = compare._figures(metrics_table, one, 16, "image_to_text")
    assert row["map"] is row["ndcg_at_100"] is row["chance"] is None
    scored = compare._scored(pairs, one, 16, "image_to_text", labelled=False)
    assert scored.query_Q.tolist() == QUERIES.tolist()
    assert len(set(scored.group_Q)) == 20
    assert row["recall_at_10"] == pytest.approx(scored.score_Q.mean())
    assert compare._told(row) == f"R@10 {row['recall_at_10']:.3f}"


@pytest.mark.slow
def test_a_comparison_from_the_command_line(tmp_path: Path, cmh_home: Path, prefect_server: None) -> None:
    """Figures are the library's on the same matrices; variants share models; twice, nothing is computed."""
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(feature_pairs.entry(tmp_path)))
    asked = ["compare", "--datasets", tmp_path / "small.yaml", "--methods", "scm", "scm:prefix"]
    asked += ["--bits", 8, 16, "--seeds", 1, "--threads", 1]
    planned = cmh(*asked, "--dry-run", "--json").rows
    assert [(row["method"], row["bits"]) for row in planned] == [("scm", 8), ("scm", 16), ("scm:prefix", 16)]
    assert {row["to compute"] for row in planned} == {"features, dataset, model, codes, report"}
    called = cmh(*asked, "--json")
    assert called.status == 0, called.err
    found = {(row["method"], row["bits"], row["direction"], row["metric"]): row for row in called.rows}
    assert {row["dataset"] for row in called.rows} == {"small"}
    assert len(found) == len(called.rows) == 2 * 2 * 2 * 5
    store = stores.open_store()
    assert len(artifacts.list_artifacts(store, "model")) == 2  # of 8 and of 16 bits
    for bits, trained, name in ((8, 8, "scm"), (16, 16, "scm"), (8, 16, "scm:prefix")):
        method = shallow.build("scm", TRAIN, bits=trained)
        solver.fit(method, TRAIN, seed=0)
        query, database = (
            hamming.pack(encoding.relaxed_codes(method, items, side)[:, :bits])
            for items, side in ((QUERY, "image"), (TRAIN, "text"))
        )
        blocks, grades = [(database, TRAIN.label)], ndcg.grades(QUERY.label)
        counts_QGD = histograms.grade_counts(query, QUERY.label, blocks, bits, grades=grades)
        expected = {
            "map": metrics.evaluate(query, database, QUERY.label, TRAIN.label, bits).map,
            "ndcg_at_100": ndcg.ndcg(counts_QGD, 100).mean(),
        }
        for metric, value in expected.items():
            row = found[name, bits, "image_to_text", metric]
            assert row["value"] == pytest.approx(value)
            assert row["seeds"] == 1
    (comparing,) = artifacts.list_artifacts(store, "comparison")
    tested = artifacts.open_artifact(store, comparing.ref).read_table("pairs.parquet").to_pylist()
    assert [(row["bits"], row["first"], row["second"]) for row in tested] == [
        (bits, "scm", "scm:prefix") for bits in (8, 8, 16, 16)
    ]
    for row in tested:
        maps = [found[row[m], row["bits"], row["direction"], "map"]["value"] for m in ("first", "second")]
        assert row["difference"] == pytest.approx(maps[0] - maps[1], abs=1e-6)
        assert (row["queries"], row["not_tested"]) == (len(QUERY), None)
        assert row["bits"] == 8 or row["p"] == 1  # one model
    before = artifacts.published(store)
    assert {row["to compute"] for row in cmh(*asked, "--dry-run", "--json").rows} == {"nothing"}
    again = cmh(*asked)
    assert again.status == 0, again.err
    assert artifacts.published(store) == before
    assert "3 of 3" in again.out
    assert "scm:prefix" in again.out
    assert "not told apart at 0.05" in " ".join(again.out.split())  # titles are wrapped
