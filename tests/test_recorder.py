"""The crash recorder: what it keeps, what it cannot keep, and what a living process may ask it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from outreach import recorder as module
from outreach.core.outcome import Accepted, Because, NotSent, Outcome, Rejected, Unknown
from outreach.recorder import NO_RECORDER, NO_SLOT, FileRecorder, open_recorder
from outreach.recorder_slots import (
    FILE_BYTES,
    SLOTS_MAX,
)
from tests.support.recorders import ARMED_AT, CONNINFO, TENANT, dead, key, outcomes, read

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


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[FileRecorder]:
    made = FileRecorder(tmp_path, CONNINFO)
    yield made
    made.close()


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
