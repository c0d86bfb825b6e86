"""Processes forked from one that has imported everything and done nothing: real, killable, and quick to start.

`multiprocessing` has one fork server a program, and whichever test comes first decides what it has imported.
"""

import importlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from types import TracebackType


class ForkServer:
    """Starts functions of one module of the tests, each in a process of its own."""

    def __init__(self, module: str) -> None:
        command = [sys.executable, __file__, module]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

        self._answer()  # it is ready

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def start(self, function: str, *arguments: str | int | None) -> int:
        """Call the function in a new process and return its process id."""
        return self._ask("start", function, *arguments)

    def wait(self, process: int) -> int:
        """Wait for a process to end and return its exit code, negative for a signal."""
        return self._ask("wait", process)

    def _ask(self, *request: str | int | None) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def _serve(module: str) -> None:
    functions = vars(importlib.import_module(module))
    _say(0)
    for line in sys.stdin:
        request, *arguments = json.loads(line)
        _say(_start(functions[arguments[0]], arguments[1:]) if request == "start" else _wait(arguments[0]))


def _say(answer: int) -> None:
    sys.stdout.write(f"{answer}\n")
    sys.stdout.flush()


def _start(function: object, arguments: list[object]) -> int:
    process = os.fork()
    if process == 0:
        try:
            function(*arguments)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return process


def _wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    _serve(sys.argv[1])
    os._exit(0)  # taking libraries down in order costs seconds and nobody waits for it
