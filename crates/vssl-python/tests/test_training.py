"""Training from Python."""

import json
import pathlib
import signal
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from conftest import QUICKSTART, ROOT, SMALL, command

import vssl


def weights(path):
    """The bytes of the last checkpoint's networks."""
    folder = sorted((path / "checkpoints").glob("step-*"))[-1]
    return {file.name: file.read_bytes() for file in folder.glob("*.safetensors")}


def test_a_run_is_read(run):
    assert run.summary["steps"] == 4 and run.summary["interrupted"] is False
    assert run.recipe == tomllib.loads((run.path / "recipe.toml").read_text())
    assert run.metrics["step"].tolist() == [1, 2, 3, 4] and run.metrics["step"].dtype == np.int64
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    np.testing.assert_array_equal(run.metrics["loss"], [line["loss"] for line in steps])
    parts = [name for name in run.metrics if name.startswith("parts/")]
    assert parts and all(len(run.metrics[name]) == 4 for name in parts)
    assert set(run.evaluations) >= {"step", "epoch"} and not any("evaluation/" in name for name in run.evaluations)
    assert run.encoder().info.step == 4


def test_every_event_reaches_the_function(tmp_path, run):
    events = []
    found = vssl.pretrain(QUICKSTART, out=tmp_path / "run", progress=events.append, **SMALL)
    names = [event["event"] for event in events]
    assert names[0] == "started" and names[-1] == "finished" and names.count("step") == 4
    assert events[-1]["summary"]["steps"] == found.summary["steps"] == 4
    assert weights(found.path) == weights(run.path), "the same recipe, the same bits"
    expected = command("pretrain", "--resume", run.path, "--json").stdout
    assert json.loads(expected.splitlines()[-1])["summary"]["knn_top1"] == found.summary["knn_top1"]


def test_the_lines_are_the_commands(tmp_path, capsys):
    vssl.pretrain(QUICKSTART, out=tmp_path / "run", train={"epochs": 1}, **SMALL)
    said = capsys.readouterr().out
    shown = command(
        *("pretrain", QUICKSTART, "--out", tmp_path / "other", "--set", "train.epochs=1"),
        *(word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")),
    ).stdout
    first = lambda text: text.splitlines()[0].replace("other", "run")
    assert first(said) == first(shown) and "kNN" in said


def test_a_finished_run_goes_on_when_it_is_asked_for_more(tmp_path):
    vssl.pretrain(QUICKSTART, out=tmp_path / "run", progress=False, **SMALL)
    events = []
    assert vssl.resume(tmp_path / "run", progress=events.append).summary["steps"] == 4
    assert events == []
    assert vssl.resume(tmp_path / "run", progress=False, train={"max_steps": 6}).summary["steps"] == 6


def test_an_exception_stops_and_saves_and_the_run_goes_on_to_the_same_bits(tmp_path):
    longer = {**SMALL, "train.max_steps": 60}

    def stop(event):
        if event["event"] == "step" and event["step"] == 2:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        vssl.pretrain(QUICKSTART, out=tmp_path / "run", progress=stop, **longer)
    stopped = vssl.run(tmp_path / "run").summary
    assert stopped["interrupted"] and 2 <= stopped["steps"] < 60
    resumed = vssl.resume(tmp_path / "run", progress=False)
    assert resumed.summary["steps"] == 60
    whole = vssl.pretrain(QUICKSTART, out=tmp_path / "whole", progress=False, **longer)
    assert weights(resumed.path) == weights(whole.path)


def test_ctrl_c_saves_and_raises(tmp_path):
    script = f"""
import json, signal, sys, vssl
# Whoever started the tests may have had the signal ignored, which processes inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings = json.loads(sys.argv[1])
def tell(event):
    if event["event"] == "step":
        print("step", flush=True)
try:
    vssl.pretrain({str(QUICKSTART)!r}, out={str(tmp_path / "run")!r}, progress=tell, **settings)
except KeyboardInterrupt:
    print("interrupted")
"""
    settings = json.dumps({**SMALL, "train.max_steps": 100000, "train.epochs": 100000, "knn.every_epochs": 0})
    line = [sys.executable, "-c", script, settings]
    training = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert training.stdout.readline() == "step\n", training.stderr.read()
    training.send_signal(signal.SIGINT)
    out, error = training.communicate(timeout=120)
    assert out.endswith("interrupted\n") and training.returncode == 0, error
    stopped = vssl.run(tmp_path / "run")
    assert stopped.summary["interrupted"] is True
    steps = stopped.summary["steps"]
    assert list((tmp_path / "run" / "checkpoints").glob(f"step-*{steps}"))


def test_wrong_recipes_have_the_words_of_the_command(tmp_path):
    with pytest.raises(vssl.UsageError) as raised:
        vssl.pretrain(QUICKSTART, out=tmp_path / "run", train={"epoch": 3})
    shown = command("pretrain", QUICKSTART, "--out", tmp_path / "run", "--set", "train.epoch=3")
    assert shown.returncode == 2 and shown.stderr.strip() == f"error: {raised.value}"
    with pytest.raises(ValueError, match="epochs is None; expected a number"):
        vssl.pretrain(QUICKSTART, out=tmp_path / "run", train={"epochs": None})
    with pytest.raises(ValueError, match="abacus"):
        vssl.pretrain(QUICKSTART, out=tmp_path / "run", device="abacus", **SMALL)
    with pytest.raises(vssl.Error, match="no-such-run"):
        vssl.resume(pathlib.Path("no-such-run"))
    with pytest.raises(vssl.Error, match="no-such-run"):
        vssl.run("no-such-run")


def test_an_occupied_folder_is_replaced_by_force_only(tmp_path):
    (tmp_path / "run").mkdir()
    vssl.pretrain(QUICKSTART, out=tmp_path / "run", progress=False, **SMALL)
    with pytest.raises(vssl.Error, match="run"):
        vssl.pretrain(QUICKSTART, out=tmp_path / "run", progress=False, **SMALL)
    again = vssl.pretrain(QUICKSTART, out=tmp_path / "run", progress=False, force=True, **{**SMALL, "seed": 3})
    assert again.summary["seed"] == 3
