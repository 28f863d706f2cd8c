"""The crash recorder: who may read what a process left, and what of it is not believed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from outreach import recorder as module
from outreach.core.outcome import Accepted
from outreach.recorder import FileRecorder
from outreach.recorder_slots import (
    ANSWERED,
    ARMED,
    FILE_BYTES,
    LEAVING,
    SLOT_BYTES,
)
from tests.support.recorders import ARMED_AT, CONNINFO, TENANT, dead, key, outcomes, read


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[FileRecorder]:
    made = FileRecorder(tmp_path, CONNINFO)
    yield made
    made.close()


# --- who may read -----------------------------------------------------------------------------


def test_a_living_process_is_not_read(tmp_path: Path, recorder: FileRecorder) -> None:
    recorder.arm(TENANT, ARMED_AT, [key()])
    assert read(tmp_path) == []
    assert list(recorder.graves()) == [], "nor does it read itself"
    dead(recorder)
    assert len(read(tmp_path)) == 1


def test_a_file_has_one_reader(tmp_path: Path, recorder: FileRecorder) -> None:
    recorder.arm(TENANT, ARMED_AT, [key()])
    path = dead(recorder)
    first, second = FileRecorder(tmp_path, CONNINFO), FileRecorder(tmp_path, CONNINFO)
    for grave in first.graves():
        assert list(second.graves()) == []
        grave.bury()
    assert not path.exists()
    assert list(second.graves()) == []
    first.close()
    second.close()


def test_a_reader_that_dies_leaves_the_file_to_the_next(
    tmp_path: Path, recorder: FileRecorder
) -> None:
    recorder.arm(TENANT, ARMED_AT, [key()])
    dead(recorder)
    assert len(read(tmp_path)) == len(read(tmp_path)) == 1


def test_workers_of_another_database_are_left_alone(tmp_path: Path, recorder: FileRecorder) -> None:
    recorder.arm(TENANT, ARMED_AT, [key()])
    dead(recorder)
    assert read(tmp_path, CONNINFO.replace("dbname=outreach", "dbname=other")) == []
    assert len(read(tmp_path, CONNINFO.replace("user=a password=b", "user=c"))) == 1


def test_a_file_of_another_boot_is_cleared_away_unread(
    tmp_path: Path, recorder: FileRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.arm(TENANT, ARMED_AT, [key()])
    path = dead(recorder)
    boot = tmp_path / "boot"
    boot.write_text(f"{uuid4()}\n")
    monkeypatch.setattr(module, "BOOT_ID", boot)
    assert read(tmp_path) == []
    assert not path.exists()


def test_a_copy_is_cleared_away_unread(tmp_path: Path, recorder: FileRecorder) -> None:
    """It may have been made while the process lived, and nobody holds its lock."""
    recorder.arm(TENANT, ARMED_AT, [key()])
    copy = recorder.path.with_name(f"{recorder.path.stem}-copy.recorder")
    shutil.copy(recorder.path, copy)
    assert read(tmp_path) == []
    assert not copy.exists() and recorder.path.exists()


# --- what is not believed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\0" * FILE_BYTES, b"\xff" * FILE_BYTES, b"\1" * (2 * FILE_BYTES)]
)
def test_a_file_of_garbage_is_cleared_away(tmp_path: Path, content: bytes) -> None:
    name = FileRecorder(tmp_path, CONNINFO)
    path = name.path.with_name(f"{name.path.stem}-x.recorder")
    name.close()
    path.write_bytes(content)
    assert read(tmp_path) == []
    assert not path.exists()


def test_what_is_no_file_is_passed_over(tmp_path: Path, recorder: FileRecorder) -> None:
    target = tmp_path / "target"
    target.write_text("of somebody else")
    recorder.path.with_name(f"{recorder.path.stem}-link.recorder").symlink_to(target)
    recorder.path.with_name(f"{recorder.path.stem}-folder.recorder").mkdir()
    assert list(recorder.graves()) == []
    assert target.read_text() == "of somebody else"


@pytest.mark.parametrize("written", range(0, SLOT_BYTES, 7))
def test_a_torn_slot_is_free(tmp_path: Path, recorder: FileRecorder, written: int) -> None:
    """The stage comes last: whatever part of the rest is there, nothing is said."""
    whole, torn = key(), key()
    recorder.arm(TENANT, ARMED_AT, [whole, torn])
    with recorder.path.open("r+b") as file:
        file.seek(2 * SLOT_BYTES)
        slot = file.read(SLOT_BYTES)
        assert slot[0] == ARMED
        file.seek(2 * SLOT_BYTES)
        file.write((b"\0" + slot[1:written]).ljust(SLOT_BYTES, b"\0"))
    dead(recorder)
    assert set(outcomes(tmp_path)) == {whole[0]}


def test_a_torn_answer_leaves_the_attempt_in_doubt(tmp_path: Path, recorder: FileRecorder) -> None:
    one = key()
    recorder.arm(TENANT, ARMED_AT, [one])
    recorder.slot(*one).leaving()
    recorder.slot(*one).answered(Accepted("abc", 202))
    with recorder.path.open("r+b") as file:
        file.seek(SLOT_BYTES)
        assert file.read(1) == bytes([ANSWERED])
        file.seek(SLOT_BYTES)
        file.write(bytes([LEAVING]))
    dead(recorder)
    assert outcomes(tmp_path) == {one[0]: None}


@pytest.mark.parametrize("stage", [4, 65, 255])
def test_a_stage_that_does_not_exist_says_nothing(
    tmp_path: Path, recorder: FileRecorder, stage: int
) -> None:
    recorder.arm(TENANT, ARMED_AT, [key()])
    with recorder.path.open("r+b") as file:
        file.seek(SLOT_BYTES)
        file.write(bytes([stage]))
    dead(recorder)
    assert read(tmp_path) == []


@pytest.mark.parametrize("stage", [ARMED, LEAVING, ANSWERED])
def test_moments_out_of_reach_say_nothing(
    tmp_path: Path, recorder: FileRecorder, stage: int
) -> None:
    recorder.arm(TENANT, ARMED_AT, [key()])
    with recorder.path.open("r+b") as file:
        file.seek(SLOT_BYTES)
        file.write(bytes([stage]) + b"\x7f" * (SLOT_BYTES - 1))
    dead(recorder)
    assert read(tmp_path) == []


def test_drafts_are_cleared_away_when_they_are_old(tmp_path: Path, recorder: FileRecorder) -> None:
    old, new = (recorder.path.with_suffix(f".{n}.draft") for n in "ab")
    for path in (old, new):
        path.write_bytes(b"")
    hour_ago = time.time() - 3600
    os.utime(old, (hour_ago, hour_ago))
    assert list(recorder.graves()) == []
    assert not old.exists() and new.exists()
