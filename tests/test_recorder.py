"""The crash recorder: what it keeps, who may read it, and what it does not believe."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from outreach import recorder as module
from outreach.core.outcome import Accepted, Because, NotSent, Outcome, Rejected, Unknown
from outreach.recorder import NO_RECORDER, NO_SLOT, FileRecorder, open_recorder
from outreach.recorder_slots import (
    ANSWERED,
    ARMED,
    FILE_BYTES,
    LEAVING,
    SLOT_BYTES,
    SLOTS_MAX,
    Entry,
    Key,
)

CONNINFO = "host=db.example port=5432 dbname=outreach user=a password=b"
TENANT = uuid4()
ARMED_AT = datetime(2026, 3, 4, 5, 6, 7, 123457, tzinfo=UTC)

# A process that dies by kill -9 with a slot in each stage.
DYING = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from uuid import UUID
from outreach.core.outcome import Accepted
from outreach.recorder import FileRecorder

recorder = FileRecorder(Path(sys.argv[1]), sys.argv[2])
keys = [(UUID(int=number), 1) for number in (1, 2, 3, 4)]
recorder.arm(UUID(int=9), datetime.fromisoformat(sys.argv[3]), keys)
recorder.slot(*keys[1]).leaving()
recorder.slot(*keys[2]).leaving()
recorder.slot(*keys[2]).answered(Accepted("abc", 202))
recorder.release(keys[3:])
os.kill(os.getpid(), signal.SIGKILL)
"""


def key(attempt: int = 1) -> Key:
    return uuid4(), attempt


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[FileRecorder]:
    made = FileRecorder(tmp_path, CONNINFO)
    yield made
    made.close()


def read(folder: Path, conninfo: str = CONNINFO) -> list[Entry]:
    """What a process that begins now finds there; it leaves the files as they are."""
    reader = FileRecorder(folder, conninfo)
    found = [entry for grave in reader.graves() for entry in grave.entries]
    reader.close()
    return found


def dead(recorder: FileRecorder) -> Path:
    """Close the file as the end of its process would."""
    recorder.close()
    return recorder.path


def outcomes(folder: Path) -> dict[UUID, Outcome | None]:
    return {entry.message_id: entry.outcome for entry in read(folder)}


# --- what a crash leaves ----------------------------------------------------------------------


def test_a_killed_process_leaves_how_far_each_request_had_come(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", DYING, str(tmp_path), CONNINFO, ARMED_AT.isoformat()]
    assert subprocess.run(arguments, check=False).returncode == -9
    found = {entry.message_id.int: entry for entry in read(tmp_path)}
    assert sorted(found) == [1, 2, 3], "what was released is not there"
    assert {entry.tenant_id for entry in found.values()} == {UUID(int=9)}
    assert {entry.armed_at for entry in found.values()} == {ARMED_AT}, "to the microsecond"
    assert isinstance(found[1].outcome, NotSent)
    assert found[2].outcome is None
    assert found[3].outcome == Accepted("abc", 202)
    answered_at = found[3].answered_at
    assert answered_at is not None
    assert abs(answered_at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("outcome", "kept"),
    [
        (Accepted("abc", 202), Accepted("abc", 202)),
        (Accepted(None, 202), Accepted(None, 202)),
        (Accepted("x" * 300, 202), Accepted(None, 202)),  # half an id would be another's
        (Rejected(Because.MESSAGE, 400, "400 no ö"), Rejected(Because.MESSAGE, 400, "400 no ö")),
        (Rejected(Because.ACCOUNT, 401, "no"), Rejected(Because.ACCOUNT, 401, "no")),
        (
            Rejected(Because.LATER, 429, "later", ARMED_AT),
            Rejected(Because.LATER, 429, "later", ARMED_AT),
        ),
        (Unknown("silence"), None),
        (Unknown("500", 500), None),
    ],
)
def test_an_answer_is_kept_as_far_as_it_is_certain(
    tmp_path: Path, recorder: FileRecorder, outcome: Outcome, kept: Outcome | None
) -> None:
    message, attempt = key(3)
    recorder.arm(TENANT, ARMED_AT, [(message, attempt)])
    slot = recorder.slot(message, attempt)
    slot.leaving()
    slot.answered(outcome)
    dead(recorder)
    (entry,) = read(tmp_path)
    assert (entry.attempt, entry.outcome) == (3, kept)


def test_a_long_refusal_is_cut(tmp_path: Path, recorder: FileRecorder) -> None:
    one = key()
    recorder.arm(TENANT, ARMED_AT, [one])
    recorder.slot(*one).answered(Rejected(Because.MESSAGE, 400, "ö" * 300))
    dead(recorder)
    (found,) = outcomes(tmp_path).values()
    assert isinstance(found, Rejected)
    assert 80 < len(found.detail) < 120 and set(found.detail) == {"ö"}


def test_what_did_not_leave_after_all_is_not_sent(tmp_path: Path, recorder: FileRecorder) -> None:
    one = key()
    recorder.arm(TENANT, ARMED_AT, [one])
    recorder.slot(*one).answered(NotSent("no connection in time"))
    dead(recorder)
    assert [type(found) for found in outcomes(tmp_path).values()] == [NotSent]


def test_all_slots_are_free_again_after_their_release(recorder: FileRecorder) -> None:
    for _ in range(3):
        keys = [key() for _ in range(SLOTS_MAX)]
        recorder.arm(TENANT, ARMED_AT, keys)
        assert NO_SLOT not in [recorder.slot(*one) for one in keys]
        recorder.release(keys)
        assert {recorder.slot(*one) for one in keys} == {NO_SLOT}


def test_an_orderly_end_leaves_no_file(tmp_path: Path, recorder: FileRecorder) -> None:
    one = key()
    recorder.arm(TENANT, ARMED_AT, [one])
    recorder.release([one])
    recorder.release([one])
    assert not dead(recorder).exists()
    assert list(tmp_path.iterdir()) == []


# --- what cannot be kept ----------------------------------------------------------------------


def test_without_a_free_slot_the_rest_goes_unrecorded(
    tmp_path: Path, recorder: FileRecorder
) -> None:
    keys = [key() for _ in range(SLOTS_MAX + 5)]
    recorder.arm(TENANT, ARMED_AT, keys)
    assert [recorder.slot(*one) for one in keys[SLOTS_MAX:]] == [NO_SLOT] * 5
    slot = recorder.slot(*keys[-1])
    slot.leaving()
    slot.answered(Accepted("abc", 202))
    recorder.release(keys[-5:])
    dead(recorder)
    assert set(outcomes(tmp_path)) == {message for message, _ in keys[:SLOTS_MAX]}


def test_a_number_given_again_after_a_rollback_is_the_new_one(
    tmp_path: Path, recorder: FileRecorder
) -> None:
    one, later = key(), ARMED_AT + timedelta(microseconds=1)
    recorder.arm(TENANT, ARMED_AT, [one])
    recorder.lapse([one])
    recorder.arm(TENANT, later, [one])
    assert recorder.lapsed() == []
    dead(recorder)
    assert [entry.armed_at for entry in read(tmp_path)] == [later]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_on_a_full_disk_work_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    write = os.write

    def full(file: int, data: memoryview) -> int:
        if len(data) < FILE_BYTES // 2:
            raise OSError(error, os.strerror(error))
        return write(file, data[: FILE_BYTES // 2 + 1])

    monkeypatch.setattr(os, "write", full)
    with open_recorder(str(tmp_path), CONNINFO) as found:
        assert found is NO_RECORDER
    assert list((tmp_path / "recorder").iterdir()) == [], "and nothing of it takes up space"


def test_the_space_of_a_file_is_taken_up_at_its_beginning(recorder: FileRecorder) -> None:
    """Else a disk that fills up later would end the process by a signal."""
    status = recorder.path.stat()
    assert status.st_size == FILE_BYTES
    assert status.st_blocks * 512 >= FILE_BYTES


def test_where_no_folder_can_be_made_work_goes_on_without(tmp_path: Path) -> None:
    (tmp_path / "recorder").write_text("a file")
    with open_recorder(str(tmp_path), CONNINFO) as found:
        assert found is NO_RECORDER


def test_without_a_name_of_the_boot_work_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BOOT_ID", tmp_path / "missing")
    with open_recorder(str(tmp_path), CONNINFO) as found:
        assert found is NO_RECORDER


def test_the_one_that_keeps_nothing_takes_everything() -> None:
    one = key()
    NO_RECORDER.arm(TENANT, ARMED_AT, [one])
    NO_RECORDER.slot(*one).leaving()
    NO_RECORDER.slot(*one).answered(Accepted("abc", 202))
    NO_RECORDER.lapse([one])
    NO_RECORDER.release([one])
    assert NO_RECORDER.lapsed() == []
    assert list(NO_RECORDER.graves()) == []


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


# --- a living process -------------------------------------------------------------------------


def test_what_lapsed_is_told_until_it_is_released(recorder: FileRecorder) -> None:
    keys = [key() for _ in range(3)]
    recorder.arm(TENANT, ARMED_AT, keys)
    recorder.slot(*keys[1]).leaving()
    recorder.slot(*keys[1]).answered(Accepted("abc", 202))
    recorder.lapse([*keys[:2], key()])
    found = {entry.key: entry.outcome for entry in recorder.lapsed()}
    assert set(found) == set(keys[:2])
    assert isinstance(found[keys[0]], NotSent)
    assert found[keys[1]] == Accepted("abc", 202)
    recorder.release(keys[:1])
    assert [entry.key for entry in recorder.lapsed()] == keys[1:2]


def test_after_the_end_nothing_may_leave(recorder: FileRecorder) -> None:
    """Its file may be read from then on, and says that this one never left."""
    one = key()
    recorder.arm(TENANT, ARMED_AT, [one])
    slot = recorder.slot(*one)
    dead(recorder)
    with pytest.raises(ValueError, match="closed"):
        slot.leaving()
    slot.answered(NotSent("kept back"))
    recorder.release([one])
    recorder.close()
