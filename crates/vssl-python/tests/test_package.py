"""The package: its stubs, its documentation, and its tutorial."""

import ast
import importlib.resources
import inspect
import subprocess
import sys

import pytest
from conftest import ROOT

import vssl
from vssl import _vssl

PACKAGE = importlib.resources.files("vssl")


def test_the_stubs_are_of_what_is_there():
    assert (PACKAGE / "py.typed").is_file()
    tree = ast.parse((PACKAGE / "_vssl.pyi").read_text())
    public = lambda names: {name for name in names if not name.startswith("_")}
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert public(dir(_vssl)) == set(classes) | set(functions)
    arguments = lambda node: [one.arg for one in node.args.args if one.arg != "self"]
    for name, node in functions.items():
        assert list(inspect.signature(getattr(_vssl, name)).parameters) == arguments(node), name
    for name, node in classes.items():
        native = getattr(_vssl, name)
        stubs = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
        attributes = {one.target.id for one in node.body if isinstance(one, ast.AnnAssign)}
        assert public(dir(native)) == public(stubs) | attributes, name
        for method, stub in stubs.items():
            if not method.startswith("_"):
                parameters = list(inspect.signature(getattr(native, method)).parameters)
                assert [one for one in parameters if one != "self"] == arguments(stub), (name, method)


@pytest.mark.parametrize("name", [name for name in vssl.__all__ if name != "__version__"])
def test_everything_public_is_documented(name):
    value = getattr(vssl, name)
    assert inspect.getdoc(value), name
    if inspect.isclass(value):
        for method, member in vars(value).items():
            if not method.startswith("_") and (callable(member) or isinstance(member, property)):
                assert inspect.getdoc(getattr(value, method)), (name, method)


def test_the_tutorial_draws_a_map(tmp_path):
    script = ROOT / "crates" / "vssl-python" / "examples" / "tutorial.py"
    line = [sys.executable, script, "--out", tmp_path, "--steps", "2", "--images", "120"]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert "kNN" in ended.stdout
