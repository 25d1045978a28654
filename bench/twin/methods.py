"""The four methods, written from their papers and the pages of the book. A view passes a network on its own, so that
batch norm sees one view at a time; a teacher normalises by its own batches, without gradients."""

import copy
import math

import torch
from networks import Mlp, Resnet18
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy, mse_loss, normalize, relu, softplus


class Method(nn.Module):
    """A student, perhaps a teacher, and a loss."""

    #: Which of the student's networks the teacher has.
    taught = ()

    def __init__(self, recipe):
        super().__init__()
        self.settings = recipe[recipe["method"]]
        self.student = nn.ModuleDict({"backbone": Resnet18(recipe["backbone"]["width"])})
        self.heads(self.student["backbone"].dim, self.settings)
        self.begin()

    def begin(self):
        """Makes the teacher a copy of the student."""
        self.teacher = copy.deepcopy(nn.ModuleDict({name: self.student[name] for name in self.taught}))
        self.teacher.requires_grad_(False)

    def momentum(self, step, steps):
        """The share that the teacher keeps after the step number `step` of `steps`, counted from 0."""
        base, last = self.settings["momentum"]["base"], self.settings["momentum"]["last"]
        return last - (last - base) * (math.cos(math.pi * step / steps) + 1) / 2

    @torch.no_grad()
    def follow(self, step, steps):
        """Moves the teacher's parameters, not its running statistics."""
        if self.taught:
            keep = self.momentum(step, steps)
            student = dict(self.student.named_parameters())
            for name, parameter in self.teacher.named_parameters():
                parameter.mul_(keep).add_(student[name], alpha=1 - keep)

    @staticmethod
    def through(networks, x, *names):
        for name in names:
            x = networks[name](x)
        return x


class Simclr(Method):
    """Chen et al. 2020, arXiv:2002.05709, eq. 1."""

    def heads(self, features, settings):
        self.student["projector"] = Mlp(features, [settings["projector_hidden"]], settings["dim"], norm=False)

    def loss(self, views, noise):
        z = normalize(torch.cat([self.through(self.student, x, "backbone", "projector") for x in views]))
        n = len(z) // 2
        logits = (z @ z.T / self.settings["temperature"]).fill_diagonal_(-math.inf)
        return cross_entropy(logits, torch.arange(2 * n).roll(n))


class Byol(Method):
    """Grill et al. 2020, arXiv:2006.07733, eq. 2; a sum over both directions."""

    taught = ("backbone", "projector")

    def heads(self, features, settings):
        dim = settings["dim"]
        self.student["projector"] = Mlp(features, [settings["projector_hidden"]], dim)
        self.student["predictor"] = Mlp(dim, [settings["predictor_hidden"]], dim)

    def loss(self, views, noise):
        with torch.no_grad():
            a, b = (self.through(self.teacher, x, "backbone", "projector") for x in views)
        p, q = (self.through(self.student, x, "backbone", "projector", "predictor") for x in views)
        return 4 - 2 * cosine_similarity(p, b).mean() - 2 * cosine_similarity(q, a).mean()


class Vicreg(Method):
    """Bardes et al. 2022, arXiv:2105.04906, eq. 1 to 6."""

    def heads(self, features, settings):
        hidden = settings["projector_hidden"]
        self.student["projector"] = Mlp(features, [hidden, hidden], settings["dim"])

    def loss(self, views, noise):
        a, b = (self.through(self.student, x, "backbone", "projector") for x in views)
        variance = sum(relu(1 - (x.var(0) + 1e-4).sqrt()).mean() for x in (a, b))
        covariance = 0
        for x in (a, b):
            matrix = torch.cov(x.T)
            covariance = covariance + (matrix - matrix.diag().diag()).square().sum() / x.shape[1]
        terms = {"similarity": mse_loss(a, b), "variance": variance, "covariance": covariance}
        return sum(self.settings[f"{name}_weight"] * term for name, term in terms.items())


class Vssl(Method):
    """Yavuz and Yanıkoğlu 2025, arXiv:2504.04318, eq. 8 to 10; the prior is the output of the teacher's projector."""

    taught = ("backbone", "projector")

    def heads(self, features, settings):
        hidden, dim = [settings["hidden"]], settings["dim"]
        self.student["projector"] = Mlp(features, hidden, 2 * dim)
        self.student["predictor"] = Mlp(2 * dim, hidden, 2 * dim)
        self.student["denoise_mean"] = Mlp(dim, hidden, dim)
        self.student["denoise_variance"] = Mlp(dim, hidden, dim)

    def loss(self, views, noise):
        with torch.no_grad():
            priors = [self.through(self.teacher, x, "backbone", "projector").chunk(2, 1) for x in views]
        total = 0
        for number, x in enumerate(views):
            posterior = self.through(self.student, x, "backbone", "projector", "predictor").chunk(2, 1)
            mean, variance = posterior
            z = mean + variance * noise(mean, number).abs()
            denoised = self.student["denoise_mean"](z), self.student["denoise_variance"](z)
            for prior in priors:
                total = total + self.settings["kl_weight"] * self.kl(posterior, prior).mean()
                total = total + self.settings["nll_weight"] * self.nll(denoised, prior).mean()
        return total

    @staticmethod
    def gap(a, b, beta):
        return softplus(-cosine_similarity(a, b), beta=beta, threshold=1e9)

    def kl(self, q, p):
        mean, variance = (self.gap(a, b, 3.0) for a, b in zip(q, p))
        return 0.5 * (variance.log() + mean.square() + variance - 1)

    def nll(self, r, p):
        mean, variance = (self.gap(a, b, 1.0) for a, b in zip(r, p))
        return variance.log() + 4 * variance + mean.square() * variance


METHODS = {"simclr": Simclr, "byol": Byol, "vicreg": Vicreg, "vssl": Vssl}


def make(recipe):
    """The method of a recipe, with initial values from PyTorch's generator."""
    return METHODS[recipe["method"]](recipe)
