"""The command in the wheel."""

import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import QUICKSTART, ROOT, SMALL, command

import vssl

SETTINGS = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]


def test_it_is_the_command_of_the_package():
    shown = command("--version")
    assert shown.returncode == 0
    assert shown.stdout.split()[:2] == ["vssl", vssl.__version__]
    module = subprocess.run([sys.executable, "-m", "vssl", "--version"], capture_output=True, text=True)
    assert module.stdout == shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["methods"], 0, ""),
        (["table", "no-such-folder"], 1, "no-such-folder"),
        (["embed", "no-such-run", "--to", "x.npy"], 1, "no-such-run: does not exist"),
        (["pretrain", "no-such-recipe.toml"], 2, "no-such-recipe.toml"),
        (["no-such-command"], 2, "unrecognized subcommand"),
    ],
)
def test_exit_codes_and_words_are_the_commands(arguments, code, words):
    ended = command(*arguments)
    assert (ended.returncode, words in ended.stderr) == (code, True), ended.stderr


def test_ctrl_c_saves_and_ends_by_the_signal(tmp_path):
    program = pathlib.Path(sys.executable).parent / "vssl"
    line = [program, "pretrain", QUICKSTART, "--out", tmp_path / "run", *SETTINGS, "--set", "train.max_steps=100000"]
    line += ["--set", "train.epochs=100000", "--set", "knn.every_epochs=0", "--json"]
    training = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert any('"event":"step"' in text for text in training.stdout)
    training.send_signal(signal.SIGINT)
    training.communicate(timeout=120)
    assert training.returncode == 130
    assert vssl.run(tmp_path / "run").summary["interrupted"] is True
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_a_command_without_a_state_ends_at_once():
    program = pathlib.Path(sys.executable).parent / "vssl"
    line = [program, "bench", "data", "--images", "1000000000", "--threads", "1"]
    measuring = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # Until the command attends to signals, the interpreter would raise: it is at work when it uses the processor.
    working = lambda: sum(map(int, open(f"/proc/{measuring.pid}/stat").read().rsplit(") ", 1)[1].split()[11:13])) > 150
    while measuring.poll() is None and not working():
        time.sleep(0.05)
    measuring.send_signal(signal.SIGINT)
    measuring.communicate(timeout=30)
    assert measuring.returncode == -signal.SIGINT


def test_a_grid_starts_this_very_command(tmp_path):
    recipe = tmp_path / "small.toml"
    settings = command("config", QUICKSTART, *SETTINGS)
    recipe.write_text(settings.stdout)
    grid = tmp_path / "grid.toml"
    grid.write_text(f'recipes = ["{recipe}"]\nseeds = [3]\nout = "{tmp_path / "study"}"\n')
    ended = command("table", "--grid", grid)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"vssl|VSSL", ended.stdout)
    assert vssl.run(next((tmp_path / "study").iterdir())).summary["steps"] == 4
