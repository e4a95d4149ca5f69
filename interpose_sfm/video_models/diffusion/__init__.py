"""Video models with open weights, run here by diffusers.

`families` says how each pipeline class takes its two pictures, `formats` what sizes it makes, `catalogue` which
checkpoints have a name, `weights` what a checkpoint holds, `loading` how it is loaded, `memory` where it goes, `local`
which one can run as things are; `model` is the `VideoModel`.
"""

from interpose_sfm.video_models.diffusion.catalogue import MODEL_NAMES
from interpose_sfm.video_models.diffusion.local import LocalChoice, local_model
from interpose_sfm.video_models.diffusion.model import DiffusersModel, create_model

__all__ = ["MODEL_NAMES", "DiffusersModel", "LocalChoice", "create_model", "local_model"]
