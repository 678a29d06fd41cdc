"""What all console commands share: one-line errors, exit codes, suggestions for typos, config overrides."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

Config = TypeVar("Config")

USAGE_ERROR = 2
FAILURE = 1
PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
EXIT_CODES = {0, FAILURE, USAGE_ERROR, 128 + signal.SIGINT, 128 + signal.SIGTERM}  # of every command


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help that names a default where there is one to name, and keeps the lines of descriptions and epilogs."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default in ([], ""):
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and suggest the nearest option."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", HelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        known = [option for action in self._actions for option in action.option_strings]
        for word in message.replace(":", " ").split():
            near = difflib.get_close_matches(word, known, n=1) if word.startswith("--") else []
            if near and word not in known:
                message += f"; did you mean {near[0]}?"
                break
        self.exit(USAGE_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


def add_settings(parser: argparse.ArgumentParser, help: str) -> None:
    """Add `--set NAME=VALUE`, for what has no flag of its own; it may be repeated, or take several at once."""
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=help)


class UsageError(ValueError):
    """The command line asks for something that cannot be: exit code 2."""


class ProcessError(RuntimeError):
    """One of the processes that a command started failed, with this error and this exit code."""

    def __init__(self, error: str, code: int) -> None:
        super().__init__(error)
        self.code = code


def override(config: Config, assignments: Sequence[str], *, flags: Mapping[str, Any] | None = None) -> Config:
    """Return `config` with `name=value` assignments applied, each value read as its field's type.

    Args:
        flags: values of settings that flags of the same name say, so that --set may not.

    Raises:
        UsageError: if an assignment has no `=`, names no field (the nearest is suggested) or one that a flag says, or
            its value is malformed.
    """
    from ..config import check_size

    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    changes = dict(flags or {})
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set takes name=value, got {assignment!r}")
        if name in (flags or {}):
            raise UsageError(f"{name} has a flag of its own: --{name} {text}")
        if name not in fields:
            raise UsageError(f"no setting named {name!r}{suggest(name, fields)}; settings: {', '.join(sorted(fields))}")
        changes[name] = _read(name, text, fields[name])
    try:
        for name, value in changes.items():
            check_size(name, value)
        return dataclasses.replace(config, **changes)  # type: ignore[type-var]
    except ValueError as error:
        raise UsageError(str(error)) from error


def keywords(assignments: Sequence[str], flag: str) -> dict[str, Any]:
    """Return `name=value` assignments as keyword arguments; a value is read as JSON, else it is text.

    Raises:
        UsageError: if an assignment has no `=` or its name is no identifier.
    """
    found = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"{flag} takes name=value, got {assignment!r}")
        try:
            found[name] = json.loads(PYTHON_WORDS.get(text, text))
        except ValueError:
            found[name] = text
    return found


def _read(name: str, text: str, current: object) -> object:
    if isinstance(current, bool):
        if text.lower() not in {"true", "false"}:
            raise UsageError(f"{name} takes true or false, got {text!r}")
        return text.lower() == "true"
    if isinstance(current, int | float):
        try:
            return type(current)(text)
        except ValueError:
            raise UsageError(f"{name} takes a number like {current}, got {text!r}") from None
    if isinstance(current, str):
        return text
    if isinstance(current, tuple) and current and not isinstance(current[0], str):
        parts = text.split(",")
        if len(parts) != len(current):
            raise UsageError(f"{name} takes {len(current)} numbers like {','.join(map(str, current))}, got {text!r}")
        return tuple(_read(name, part, number) for part, number in zip(parts, current, strict=True))
    raise UsageError(f"{name} cannot be set on the command line")


def suggest(word: str, known: Sequence[str] | dict[str, Any]) -> str:
    """Return `; did you mean 'x'?` for the nearest of `known`, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def run(prog: str, command: Callable[[], int | None]) -> int:
    """Call `command`; turn what users can cause into one line on stderr and an exit code.

    UsageError gives 2; ValueError, OSError, RuntimeError and MemoryError give 1; SIGINT gives 130 and SIGTERM 143;
    ProcessError gives its own code if it is one of these. Anything else is our own bug and keeps its traceback.
    """
    from ..training.stopping import handled, raise_stopped

    try:
        with handled(signal.SIGTERM, raise_stopped):  # what was started is ended, and what is half done is removed
            return command() or 0
    except UsageError as error:
        _say(prog, error)
        return USAGE_ERROR
    except ProcessError as error:
        _say(prog, error)
        return error.code if error.code in EXIT_CODES else FAILURE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except MemoryError:
        _say(prog, MemoryError("not enough memory: try a smaller size, batch or clip, or fewer processes or workers"))
        return FAILURE
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("WORLDMODEL_TRACEBACK"):
            raise
        _say(prog, error)
        return FAILURE
    except KeyboardInterrupt as stop:
        number: int = getattr(stop, "number", signal.SIGINT)
        print(f"{prog}: {'terminated' if number == signal.SIGTERM else 'interrupted'}", file=sys.stderr)
        return 128 + number


def warn(line: str | None) -> None:
    """Print one line on stderr, if there is one."""
    if line:
        print(plain(line), file=sys.stderr)


def _say(prog: str, error: BaseException) -> None:
    """Print an error; a process of several leaves that to the one that launched it, so that it is said once."""
    from ..training.launch import hand_over

    if not hand_over(_one_line(error)):
        print(f"{prog}: {_one_line(error)}", file=sys.stderr)


def _one_line(error: BaseException) -> str:
    return plain(" ".join(str(error).split())) or type(error).__name__


def plain(text: object) -> str:
    """Return `text` with control and unprintable characters escaped (`\\x1b`): names may come from untrusted files."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def for_console(text: object) -> str:
    """Return `text` as a rich console shows it: plain, and its brackets no markup."""
    from rich.markup import escape

    return escape(plain(text))
