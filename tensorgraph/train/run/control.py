"""Commands to a run: lines that anyone with the folder's rights appends, and the training process answers.

Each has an id, and the answer is an event with that id: `command` where it was applied, `refused` with the reason where
it was not. What has no answer yet waits, also for the next process that trains.
"""

from __future__ import annotations

import os
import secrets
import time
from typing import Any

from tensorgraph.train.run.folder import Folder, append_whole, locked, open_own, telling
from tensorgraph.train.run.lines import as_line, lines_with
from tensorgraph.train.run.log import CHECKPOINT, DECIDING, Log

__all__ = ["COMMANDS", "fields_of", "send", "status_at_once"]

# the fields of each command: name -> (types, whether it must be there)
COMMANDS: dict[str, dict[str, tuple[tuple[type, ...], bool]]] = {
    "set": {"name": ((str,), True), "value": ((int, float), True)},
    "pause": {},
    "resume": {},
    CHECKPOINT: {"name": ((str,), False)},
    "rollback": {"to": ((int, str), False)},
    "stop": {},
}


def send(folder: Folder, command: str, **fields: Any) -> str:
    """Append a command, onto the disk; gives its id.

    Raises
    ------
    FileNotFoundError
        If there is no run in the folder.
    """
    if folder.read() is None:
        raise FileNotFoundError(
            f"there is no run in {str(folder.path)!r}; fit(..., run={str(folder.path)!r}) begins it"
        )
    number = secrets.token_hex(8)
    given = {key: value for key, value in fields.items() if value is not None}
    line = as_line({"id": number, "time": time.time(), "command": command, **given})
    with telling(folder.control):
        handle = open_own(folder.control, os.O_APPEND)
        try:
            with locked(handle):
                size = os.fstat(handle).st_size
                torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
                append_whole(handle, b"\n" * torn + line)  # a line that a kill cut off is nobody's command
                os.fsync(handle)
        finally:
            os.close(handle)
    return number


def status_at_once(folder: Folder) -> str:
    """`Run.status` by the events alone that decide it: for a process that asks once and then sends a command.

    The log of a long run, of ten steps a second, takes seconds to parse.
    """
    if folder.read() is None:
        return "new"
    busy = folder.busy()
    return Log.read(lines_with(folder.events, DECIDING)).status(busy)


def fields_of(command: dict[str, Any]) -> dict[str, Any]:
    """A command's own fields, checked.

    Raises
    ------
    ValueError
        If there is no such command, or a field is missing or of another kind.
    """
    name = command.get("command")
    if not isinstance(name, str) or name not in COMMANDS:
        raise ValueError(f"there is no command {name!r}; known are {', '.join(COMMANDS)}")
    found = {}
    for field, (types, needed) in COMMANDS[name].items():
        value = command.get(field)
        if value is None:
            if needed:
                raise ValueError(f"the command {name!r} needs {field!r}")
            continue
        if not isinstance(value, types) or isinstance(value, bool):
            kinds = " or ".join(kind.__name__ for kind in types)
            raise ValueError(f"{field!r} of the command {name!r} must be {kinds}, got {value!r}")
        found[field] = value
    return found
