"""What the comparisons ask of the binary: trainings, initial weights, evaluations of encoders."""

import json
import subprocess
import tomllib

import torch
from safetensors.torch import load_file, save_file

NO_EVALUATION = ["evaluation.enabled=false", "knn.every_epochs=0"]


def options(changes):
    return [word for change in changes for word in ("--set", change)]


def trained(chosen, recipe, out, changes):
    """Trains by vssl; returns the tensors of its last checkpoint and its logged steps."""
    subprocess.run(
        [chosen.vssl, "pretrain", recipe, "--out", out, "--threads", "1", "--data", chosen.data, "--quiet",
         *options(changes)],
        check=True, stdout=subprocess.DEVNULL)
    folder = out / "checkpoints" / (out / "checkpoints" / "latest").read_text().strip()
    tensors = {name: load_file(folder / f"{name}.safetensors") for name in ("student", "memory", "optimizer")}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return tensors, [line for line in lines if line["kind"] == "step"]


def one_step_at_rate_0(chosen, recipe, out):
    """A step that changes no parameter: the tensors of the checkpoint after it. Its moments tell the gradients."""
    return trained(chosen, recipe, out, ["train.max_steps=1", "schedule.start=0", *NO_EVALUATION])[0]


def as_before_the_first_step(student):
    """The tensors of a student with the running statistics of a new network."""
    fresh = {"running_mean": torch.zeros_like, "running_var": torch.ones_like}
    return {name: fresh.get(name.rpartition(".")[2], lambda tensor: tensor)(value) for name, value in student.items()}


def load(module, tensors):
    """Fills a module; only the counters of PyTorch's batch norms may be missing."""
    missing, unexpected = module.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise SystemExit(f"the networks differ: missing {missing}, unexpected {unexpected}")


def imported(chosen, recipe, tensors, to):
    """Makes a file of vssl's of the tensors of an encoder with torchvision's names. Images stay as they are: without
    `--resize` those of a ResNet with the `imagenet` stem are taken for photographs, enlarged and cut."""
    weights = to.with_suffix(".weights.safetensors")
    save_file({name: value.contiguous() for name, value in tensors.items()}, weights)
    normalisation = recipe["data"]["normalisation"]
    numbers = ",".join(str(number) for key in ("mean", "std") for number in normalisation[key])
    size = str(recipe["views"][0]["size"])
    subprocess.run(
        [chosen.vssl, "import", weights, "--to", to, "--architecture", "resnet18", "--size", size, "--resize", size,
         "--normalisation", numbers, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    weights.unlink()


def evaluated(chosen, encoder, recipe, evaluators="knn,linear"):
    """The accuracies of an encoder on the images of a resolved recipe, as at the end of vssl's own runs."""
    with open(recipe, "rb") as file:
        knn = tomllib.load(file)["knn"]
    run = subprocess.run(
        [chosen.vssl, "evaluate", encoder, "--images", recipe, "--data", chosen.data, "--threads", "1", "--json",
         "--evaluators", evaluators, "--k", str(knn["k"]), "--temperature", str(knn["temperature"])],
        check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(run.stdout.splitlines()[-1])["figures"]
