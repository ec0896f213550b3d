"""What stands between the agent and a command, so that the command outlives the agent and its end is known.

    python -I -S supervisor.py LABEL KEY ROOT SECONDS PROGRAM [ARGUMENT…]

A program of its own, which imports nothing of ours and next to nothing besides, since every command waits for
its start. It is started in the folder of the runs and in a session of its own. Its standard input is the
locked file KEY.lock, which stays locked until KEY.result is on the disk. Its environment is the command's.
LABEL is only for those who look at the list of processes.
The command's output goes through a pipe to KEY.log, so that it cannot fill the disk. KEY.result is one line:

    exited STATUS | killed SIGNAL | timeout | unstartable ERRNO
"""

from __future__ import annotations

import os
import select
import sys
import time

LOG_HEAD = 16 * 1024 * 1024
LOG_TAIL = 64 * 1024
"""Bytes that are kept of the output: from its begin, and of what exceeds that from its end."""

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL, when the time is over."""

_CHUNK = 64 * 1024
_SIGKILL, _SIGPIPE, _SIGTERM = 9, 13, 15  # the module `signal` takes longer to import than all the rest


class Log:
    """The log file: the begin of the output, and at the end its last bytes if there is more."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._room = LOG_HEAD
        self._left_out = 0
        self._tail = b""

    def take(self, data: bytes) -> None:
        """Write what there is room for and remember the end of the rest."""
        kept, rest = data[: self._room], data[self._room :]
        self._room -= len(kept)
        self._write(kept)
        if rest:
            self._left_out += len(rest)
            self._tail = (self._tail + rest)[-LOG_TAIL:]

    def end(self) -> None:
        """Write the end of the rest, and bring it all to the disk; nothing more is kept after that."""
        self._room = 0
        if self._left_out:
            self._write(b"\n[%d bytes were printed here]\n" % (self._left_out - len(self._tail)) + self._tail)
        os.fsync(self._descriptor)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except OSError:  # a full disk is no reason to stop the command
                return


def main(_label: str, key: str, root: str, seconds: str, *command: str) -> None:
    """Run the command to its end; the agent sees this process exit as soon as all is set up."""
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    processes = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    null = os.open("/dev/null", os.O_RDWR)
    log = Log(f"{key}.log")
    if root != "/":
        os.chroot(root)
    os.chdir("/")
    os.umask(0o022)
    if os.fork():
        os._exit(0)
    os.dup2(null, 1)
    os.dup2(null, 2)
    output, inlet = os.pipe()
    os.set_blocking(output, False)
    try:
        process = _spawn(command, null, inlet)
    except OSError as error:
        log.end()
        _write_result(folder, key, f"unstartable {error.errno}")
        return
    os.close(inlet)
    result = _follow(process, output, log, float(seconds), processes)
    log.end()
    _write_result(folder, key, result)
    os.close(0)
    _drain(output)


def _spawn(command: tuple[str, ...], null: int, inlet: int) -> int:
    return os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, source, number) for number, source in enumerate((null, inlet, inlet))],
        setsid=True,
        setsigdef=[_SIGPIPE],  # Python ignores it, and that would be inherited
    )


def _follow(process: int, output: int, log: Log, seconds: float, processes: int) -> str:
    """Wait for the end of the command, not of what it left behind, and return the result.

    When the time is over the whole session has to end: it has once nobody holds the pipe any more.
    """
    ended = os.pidfd_open(process)
    waiting = {ended, output}
    deadline = time.monotonic() + seconds
    kill = _SIGTERM
    while ended in waiting or (kill == _SIGKILL and output in waiting):
        ready = select.select(waiting, [], [], max(0.0, deadline - time.monotonic()))[0]
        if output in ready and not _read(output, log):
            waiting.remove(output)
        if ended in ready:
            waiting.remove(ended)
        elif time.monotonic() >= deadline:
            _kill_session(process, kill, processes)
            if kill == _SIGKILL and ended not in waiting:
                break
            kill, deadline = _SIGKILL, time.monotonic() + GRACE
    if output in waiting:
        _read(output, log)  # all that is in the pipe
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if kill == _SIGKILL:
        return "timeout"
    return f"exited {code}" if code >= 0 else f"killed {-code}"


def _read(output: int, log: Log) -> bool:
    """Log what is in the pipe; say whether anybody can still write to it."""
    try:
        data = os.read(output, _CHUNK)
    except BlockingIOError:
        return True
    log.take(data)
    return bool(data)


def _kill_session(session: int, number: int, processes: int) -> None:
    for name in os.listdir(processes):
        try:
            if name.isdigit() and os.getsid(int(name)) == session:
                os.kill(int(name), number)
        except ProcessLookupError:
            continue


def _write_result(folder: int, key: str, result: str) -> None:
    descriptor = os.open(f"{key}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=folder)
    os.write(descriptor, f"{result}\n".encode())
    os.fsync(descriptor)
    os.rename(f"{key}.new", f"{key}.result", src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _drain(output: int) -> None:
    """Keep the pipe open for the daemons that the command left behind: writing to it must not kill them."""
    os.set_blocking(output, True)
    while os.read(output, _CHUNK):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
