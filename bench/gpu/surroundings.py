"""What surrounds the programs that bench/gpu/run starts: variables, CubeCL's settings, the GPU's memory."""

import ctypes.util
import os
import pathlib
import shutil
import subprocess
import threading


def environment(python):
    """The variables of all commands, and whether there is PyTorch. The loader finds NVRTC, and NVRTC the
    headers, also where they are in PyTorch's folders only."""
    found = dict(os.environ)
    code = ("import importlib.util as i; s = i.find_spec('nvidia'); print(bool(i.find_spec('torch')), "
            "*(s.submodule_search_locations if s else []))")
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30)
        has_torch, *places = done.stdout.split()
    except (OSError, ValueError, subprocess.TimeoutExpired):
        has_torch, places = "False", []
    if ctypes.util.find_library("nvrtc") is None:
        libraries = {str(file.parent) for place in places for file in pathlib.Path(place).rglob("libnvrtc.so*")}
        paths = [path for path in [found.get("LD_LIBRARY_PATH")] if path]
        if libraries:
            found["LD_LIBRARY_PATH"] = ":".join([*paths, *sorted(libraries)])
    if "CUDA_PATH" not in found:
        compiler = shutil.which("nvcc")
        folders = [pathlib.Path(compiler).resolve().parents[1]] if compiler else []
        folders += [pathlib.Path("/usr/local/cuda"), pathlib.Path("/opt/cuda")]
        folders += [header.parents[1] for place in places for header in pathlib.Path(place).rglob("include/cuda_fp16.h")]
        for folder in folders:
            if (folder / "include" / "cuda_fp16.h").exists():
                found["CUDA_PATH"] = str(folder)
                break
    return found, has_torch == "True"


def settings(work, level, profiled):
    """CubeCL keeps its choices and compiled kernels in a folder, tells its choices, and times kernels."""
    lines = [
        f'[environment]\nname = "vssl"\npath = {{ directory = "{work}/environment" }}',
        "[compilation]\ncache = true",
        f'[autotune]\nlevel = "{level}"',
        f'[autotune.logger]\nlevel = "minimal"\nfile = "{work}/autotune.log"',
        f'[autotune.decisions]\nfile = "{work}/decisions.jsonl"',
    ]
    if profiled:
        lines.append(f'[profiling.logger]\nlevel = "medium"\nappend = false\nfile = "{work}/kernels.log"')
    return "\n".join(lines) + "\n"


class Memory:
    """The largest memory in use on the GPU while something runs, as the driver counts it."""

    def __init__(self, device):
        self.most, self.process = None, None
        self.wanted = device.startswith("cuda") and shutil.which("nvidia-smi")

    def __enter__(self):
        if self.wanted:
            words = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "100"]
            self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            threading.Thread(target=self.read, daemon=True).start()
        return self

    def read(self):
        for line in self.process.stdout:
            if line.strip().isdigit():
                self.most = max(self.most or 0, int(line))

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
