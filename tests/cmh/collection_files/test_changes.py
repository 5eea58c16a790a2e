"""A collection against a dictionary, over any order of additions, removals, faults and openings."""

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cmh.codes import index_files
from cmh.collection_files import changes, manifest
from cmh.collection_files.parts import FileState

Code = tuple[int, FileState]
FULL = OSError(errno.ENOSPC, "No space left on device")


class Collections(RuleBasedStateMachine):
    """`self.model` is what the collection must hold: name → code and state of its file."""

    @initialize()
    def create(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        (self.root / "trained").mkdir()
        (self.root / "trained" / "config.json").write_text(json.dumps({"order": list(range(8))}))
        self.folder = self.root / "own"
        changes.create(self.folder, self.root / "trained", "image", "model/a/b")
        self.model: dict[str, Code] = {}
        self.number = 0

    def _new(self, count: int) -> dict[str, Code]:
        self.number += count
        numbers = range(self.number - count, self.number)
        return {f"/photos/{n}.png": (n % 256, FileState(n, n)) for n in numbers}

    def _add(self, new: dict[str, Code]) -> None:
        codes = np.array([code for code, _ in new.values()], np.uint8)[:, None]
        states = [state for _, state in new.values()]
        with changes.lock(self.folder):
            changes.add_part(self.folder, manifest.read(self.folder), codes, list(new), states)

    @rule(count=st.integers(1, 5))
    def add(self, count: int) -> None:
        new = self._new(count)
        self._add(new)
        self.model |= new

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        gone = data.draw(st.sets(st.sampled_from(sorted(self.model)))) if self.model else set()
        with changes.lock(self.folder):
            changes.remove(self.folder, manifest.read(self.folder), gone | {"/photos/unknown.png"})
        self.model = {name: code for name, code in self.model.items() if name not in gone}

    @rule(
        count=st.integers(1, 3),
        step=st.sampled_from([(changes, "commit"), (manifest, "sync"), (manifest, "checksums")]),
    )
    def fail_while_adding(self, count: int, step: tuple[Any, str]) -> None:
        """The disk is full, or the process ends, before the change counts: then nothing has changed."""
        with mock.patch.object(*step, side_effect=FULL), pytest.raises(OSError, match="No space"):
            self._add(self._new(count))

    @rule()
    def fail_while_removing(self) -> None:
        if not self.model:
            return
        with changes.lock(self.folder):
            contents = manifest.read(self.folder)
            with (
                mock.patch.object(changes, "commit", side_effect=FULL),
                pytest.raises(OSError, match="No space"),
            ):
                changes.remove(self.folder, contents, {next(iter(self.model))})

    @rule()
    def another_writer_is_refused(self) -> None:
        with (
            changes.lock(self.folder),
            pytest.raises(ValueError, match="is changing"),
            changes.lock(self.folder),
        ):
            pass

    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """Any byte of any file that counts, changed and changed back."""
        contents = manifest.read(self.folder)
        listed = [f"{part.name}/{name}" for part in contents.parts for name in part.files]
        path = self.folder / data.draw(st.sampled_from(["model/config.json", *listed]))
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert changes.damage(self.folder, contents) == [
            f"{path} is not what was written: its checksum differs"
        ]
        path.write_bytes(whole)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        contents = manifest.read(self.folder)
        changes.check(self.folder, contents)
        states = changes.states(self.folder, contents)
        found = {}
        for part in contents.parts:
            index = index_files.load(self.folder / part.name)
            assert part.items == len(index) > 0
            for name, code in zip(index.ids.tolist(), index.codes()[:, 0].tolist(), strict=True):
                assert name not in found
                found[name] = (code, states[name])
        assert found == self.model

    def teardown(self) -> None:
        if hasattr(self, "root"):
            shutil.rmtree(self.root)


TestCollections = Collections.TestCase
TestCollections.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)


def test_left_over_parts_are_deleted_by_the_next_change(tmp_path: Path) -> None:
    """Those that collection.json does not list, such as of a process that was killed."""
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "config.json").write_text('{"order": [0, 1, 2, 3, 4, 5, 6, 7]}')
    changes.create(tmp_path / "own", tmp_path / "trained", "text", "model/a/b")
    os.makedirs(tmp_path / "own" / "part-00007")
    with changes.lock(tmp_path / "own"):
        assert not (tmp_path / "own" / "part-00007").exists()
    with pytest.raises(ValueError, match="at the same time"):
        changes.create(tmp_path / "own", tmp_path / "trained", "text", "model/a/b")


@pytest.mark.parametrize("name", ["..", "", "../photos", "/etc", "model"])
def test_a_part_that_is_no_folder_of_parts_is_refused(tmp_path: Path, name: str) -> None:
    """Though its checksum is right: whoever writes a collection can compute it."""
    manifest.commit(tmp_path, manifest.Contents("text", "model/a/b", {}, (manifest.Part(name, 0, {}),)))
    with pytest.raises(ValueError, match="a part outside of it"):
        manifest.read(tmp_path)
