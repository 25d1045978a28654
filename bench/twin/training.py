"""What `train.py` and `compare_steps.py` share: the schedule, the optimiser and a step."""

import math

import torch


class Length:
    """How many steps a run has: whole batches of an epoch, times the epochs, or `max_steps` where that is less."""

    def __init__(self, recipe, images):
        train = recipe["train"]
        self.of_epoch = images // train["batch"]
        self.whole = min(self.of_epoch * train["epochs"], train.get("max_steps", math.inf))


def rate(recipe, length, step):
    """The learning rate of the step number `step`, counted from 0: a straight line to the base rate, which the last
    step of the warm-up has, then half a cosine."""
    schedule, base = recipe["schedule"], recipe["optimizer"]["lr"]
    warmup = math.floor(schedule["warmup_epochs"] * length.of_epoch + 0.5)
    if step < warmup:
        start = schedule["start"]
        return start + step * (base - start) / max(warmup - 1, 1)
    progress = (step - warmup) / max(length.whole - warmup, 1)
    return schedule["min"] + 0.5 * (base - schedule["min"]) * (1 + math.cos(math.pi * progress))


def optimiser(recipe, method):
    """AdamW over all parameters of the student: these recipes leave none out of the weight decay."""
    settings = recipe["optimizer"]
    betas = settings["beta1"], settings["beta2"]
    return torch.optim.AdamW(
        method.student.parameters(), lr=settings["lr"], betas=betas, eps=settings["eps"],
        weight_decay=settings["weight_decay"],
    )


def step(method, adam, views, noise, number, learning_rate, length):
    """Trains on a batch; returns the loss and the norm of all gradients."""
    adam.zero_grad(set_to_none=True)
    loss = method.loss(views, noise)
    loss.backward()
    norms = [parameter.grad.norm() for parameter in method.student.parameters()]
    for group in adam.param_groups:
        group["lr"] = learning_rate
    adam.step()
    method.follow(number, length.whole)
    return loss.detach(), torch.stack(norms).norm()
