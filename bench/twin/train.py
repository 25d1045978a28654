#!/usr/bin/env python3
"""Trains a method by PyTorch and torchvision as a resolved recipe says, and writes the encoder.

    python bench/twin/train.py recipe.toml --data data --out folder

`--weights CHECKPOINT` starts from the weights of a file student.safetensors of vssl instead of PyTorch's, and
`--views vssl` takes the batches of `vssl.Views` instead of torchvision's (and needs vssl's Python package): so a
difference can be traced. The state is saved after every epoch, and a second start goes on from there.

In the folder: start.safetensors and encoder.safetensors, the encoder before and after, with torchvision's names;
losses.jsonl; state.pt while it trains.
"""

import argparse
import json
import os
import time
from pathlib import Path

import images
import methods
import recipe as recipes
import torch
import training
from safetensors.torch import load_file, save_file
from vssl_run import as_before_the_first_step, load


def epochs_by_torchvision(recipe, data, first):
    """A loader of batches for each epoch; PyTorch's generator decides the order and the views."""
    loader = images.batches(recipe, data)
    return (loader for _ in range(first, recipe["train"]["epochs"]))


def epochs_by_vssl(path, data, recipe, first):
    import vssl

    views = vssl.Views(path, data=data, workers=1)
    for epoch in range(first, recipe["train"]["epochs"]):
        yield ([torch.from_numpy(view) for view in batch.views] for batch in views.epoch(epoch))


def replaced(path, write):
    """Writes a file whole or not at all."""
    write(path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def encoder(method):
    return {name: value.contiguous() for name, value in method.student["backbone"].state_dict().items()}


def begin(chosen, recipe):
    """The method and its optimiser as they are before the first step."""
    torch.manual_seed(recipe["seed"])
    method = methods.make(recipe)
    if chosen.weights:
        load(method.student, as_before_the_first_step(load_file(chosen.weights)))
        method.begin()
    method.train()
    return method, training.optimiser(recipe, method)


def go_on(chosen, method, adam):
    """Takes up a saved state; returns the epochs that are done and the seconds that they took."""
    saved = chosen.out / "state.pt"
    if not saved.exists():
        save_file(encoder(method), chosen.out / "start.safetensors")
        (chosen.out / "losses.jsonl").write_text("")
        return 0, 0.0
    state = torch.load(saved)
    method.load_state_dict(state["method"])
    adam.load_state_dict(state["adam"])
    torch.set_rng_state(state["generator"])
    with open(chosen.out / "losses.jsonl", "r+") as losses:
        losses.truncate(state["losses"])
    return state["epoch"], state["seconds"]


def train(chosen, recipe):
    method, adam = begin(chosen, recipe)
    done, seconds = go_on(chosen, method, adam)
    pixels = recipe["data"].get("limit_train")
    length = training.Length(recipe, pixels or len(images.split(recipe, chosen.data, images.TRAINING)[0]))
    epochs = (epochs_by_vssl(chosen.recipe, chosen.data, recipe, done) if chosen.views == "vssl"
              else epochs_by_torchvision(recipe, chosen.data, done))
    for epoch, batches in enumerate(epochs, done):
        began = time.perf_counter()
        with open(chosen.out / "losses.jsonl", "a") as losses:
            for number, views in enumerate(batches, epoch * length.of_epoch):
                if number == length.whole:
                    break
                rate = training.rate(recipe, length, number)
                loss, norm = training.step(method, adam, views, noise, number, rate, length)
                line = {"step": number + 1, "loss": loss.item(), "gradient_norm": norm.item(), "lr": rate}
                losses.write(json.dumps(line) + "\n")
            size = losses.tell()
        seconds += time.perf_counter() - began
        state = {"method": method.state_dict(), "adam": adam.state_dict(), "generator": torch.get_rng_state(),
                 "epoch": epoch + 1, "losses": size, "seconds": seconds}
        replaced(chosen.out / "state.pt", lambda path: torch.save(state, path))
        print(f"epoch {epoch + 1} of {recipe['train']['epochs']}: loss {line['loss']:.4f}, {seconds:.0f} s", flush=True)
    replaced(chosen.out / "encoder.safetensors", lambda path: save_file(encoder(method), path))
    (chosen.out / "seconds").write_text(str(seconds))
    (chosen.out / "state.pt").unlink()


def noise(like, view):
    return torch.randn_like(like)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="as `vssl config` prints it")
    parser.add_argument("--data", default="data", help="folder of the datasets")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--weights", help="student.safetensors of a checkpoint of vssl; PyTorch's own unless given")
    parser.add_argument("--views", choices=["torchvision", "vssl"], default="torchvision")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    recipe = recipes.read(chosen.recipe)
    chosen.out.mkdir(parents=True, exist_ok=True)
    if (chosen.out / "encoder.safetensors").exists():
        raise SystemExit(f"{chosen.out} has an encoder already")
    train(chosen, recipe)


if __name__ == "__main__":
    main()
