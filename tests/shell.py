"""``vaelib`` run in the tests' own process, and what it answers."""

import dataclasses

import pytest

from vaelib import cli

SMALL = ["--hidden-dim", "16", "--epochs", "2", "--batch-size", "500", "--device", "cpu"]


@dataclasses.dataclass
class Answer:
    code: int
    out: str
    err: str


class Shell:
    """Runs ``vaelib`` in this process, through the very function that the command calls."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Answer:
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        said = self.capsys.readouterr()
        return Answer(left.value.code, said.out, said.err)


def one_line(answer: Answer) -> str:
    lines = answer.err.splitlines()
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("vaelib: ")
    assert "Traceback" not in answer.err
    return lines[0]


def one_line_after_the_log(answer: Answer) -> str:
    """The same for commands that have first said where the images came from."""
    *log, last = answer.err.splitlines()
    assert all("served by" in line for line in log)
    return one_line(dataclasses.replace(answer, err=last))
