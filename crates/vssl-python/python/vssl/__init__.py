"""Self-supervised visual representation learning: encoders, views and evaluations as numpy arrays.

>>> import vssl
>>> encoder = vssl.Encoder.load("runs/quickstart-0")
>>> features = encoder.embed("photos/")

The chapter *Python* of the book has more.
"""

from ._command import main
from ._encoder import Embedding, Encoder, EncoderInfo
from ._errors import Error, ImageWarning, Note, UsageError
from ._evaluation import (
    AlphaReq,
    Knn,
    Lidar,
    LinearProbe,
    Spectrum,
    alpha_req,
    effective_rank,
    knn,
    lidar,
    linear_probe,
    rankme,
    spectrum,
)
from ._images import Images
from ._run import Run, run
from ._training import pretrain, resume
from ._views import Batch, Replaced, View, Views
from ._vssl import __version__, set_threads

__all__ = [
    "AlphaReq",
    "Batch",
    "Embedding",
    "Encoder",
    "EncoderInfo",
    "Error",
    "ImageWarning",
    "Images",
    "Knn",
    "Lidar",
    "LinearProbe",
    "Note",
    "Replaced",
    "Run",
    "Spectrum",
    "UsageError",
    "View",
    "Views",
    "__version__",
    "alpha_req",
    "effective_rank",
    "knn",
    "lidar",
    "linear_probe",
    "main",
    "pretrain",
    "rankme",
    "resume",
    "run",
    "set_threads",
    "spectrum",
]
