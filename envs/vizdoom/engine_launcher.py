"""Starts an engine that dies with its parent. Run as a script, in front of the engine's own command line.

    python engine_launcher.py PARENT_PID DIRECTORY ENGINE ARGUMENTS...

The engine gets DIRECTORY as its working directory, a process group of its own (Ctrl-C in the terminal is for the
parent alone), and SIGKILL when the parent dies. Its process id is written into DIRECTORY.

An engine that ends before its shared memory is there would crash the process that waits for it (ViZDoom 1.3.2 reads
a null pointer), so such an engine is started again. One that is killed while it writes or reads a message keeps the
message queue locked; it is unlocked, or the parent would wait for it for ever.
"""

import contextlib
import ctypes
import mmap
import os
import signal
import struct
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
ATTEMPTS = 5
MUTEX = 0x30  # where it lies in the shared memory of a queue, as boost lays it out


def main() -> None:
    parent, directory, engine, *arguments = sys.argv[1:]
    os.chdir(directory)
    os.setpgid(0, 0)
    die_with(int(parent))
    write("launcher", str(os.getpid()))
    for _ in range(ATTEMPTS):
        status = run(engine, arguments)
        if status == 0 or may_have_started(arguments):
            sys.exit(status)
    print(f"the ViZDoom engine does not start: it left with code {status}", file=sys.stderr)
    sys.exit(1)


def run(engine: str, arguments: list[str]) -> int:
    """Run the engine to its end and return its exit code."""
    launcher = os.getpid()
    child = os.fork()
    if child == 0:
        die_with(launcher)
        write("pid", str(os.getpid()))
        os.execv(engine, [engine, *arguments])
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    unlock_queues(child, instance_of(arguments))
    return status


def unlock_queues(dead: int, instance: str) -> None:
    """Unlock the message queues of an engine that died, as process `dead`, while it held their mutex.

    The mutex lies in shared memory and is not a robust one: neither the parent, which waits for an answer, nor the
    thread that wants to tell it of the engine's end could ever take it.
    """
    for name in ("Ctr", "Doom"):
        path = f"/dev/shm/ViZDoomMQ{name}{instance}"
        with (
            contextlib.suppress(OSError, ValueError),
            open(path, "r+b") as file,
            mmap.mmap(file.fileno(), 0) as memory,
        ):
            locked, _, owner = struct.unpack_from("=IIi", memory, MUTEX)  # as in glibc, 64 bits
            if locked and owner == dead:
                mutex = ctypes.c_char.from_buffer(memory, MUTEX)
                ctypes.CDLL(None).pthread_mutex_unlock(ctypes.byref(mutex))
                del mutex  # the mapping cannot be closed while this points into it


def instance_of(arguments: list[str]) -> str:
    """Return the part of the names of the engine's shared memory that is its own."""
    return arguments[arguments.index("+viz_instance_id") + 1] if "+viz_instance_id" in arguments else ""


def may_have_started(arguments: list[str]) -> bool:
    """Whether the engine came so far that the parent survives its end."""
    return os.path.exists("started") or os.path.exists(f"/dev/shm/ViZDoomSM{instance_of(arguments)}")


def die_with(parent: int) -> None:
    """Have this process killed when `parent` is."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before prctl could be heard
        os._exit(1)


def write(name: str, content: str) -> None:
    """Write a file whose content is there as soon as its name is."""
    with open(f".{name}", "w") as file:
        file.write(content)
    os.replace(f".{name}", name)


if __name__ == "__main__":
    main()
