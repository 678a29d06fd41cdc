"""Starts an engine that dies with its parent. Run as a script, in front of the engine's own command line.

    python engine_launcher.py PARENT_PID DIRECTORY ENGINE ARGUMENTS...

The engine gets DIRECTORY as its working directory, a process group of its own (Ctrl-C in the terminal is for the
parent alone), and SIGKILL when the parent dies. Its process id and its arguments are written into DIRECTORY.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    parent, directory, engine, *arguments = sys.argv[1:]
    os.chdir(directory)
    os.setpgid(0, 0)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with open("arguments", "w") as file:
        file.write("\n".join(arguments))
    with open("pid", "w") as file:
        file.write(str(os.getpid()))
    if os.getppid() != int(parent):  # it died before prctl could be heard
        sys.exit(1)
    os.execv(engine, [engine, *arguments])


main()
