"""Video models behind the APIs of Runway and Luma.

`runway` and `luma` say how the two services are asked, `catalogue` which of their models take a last frame, in which
sizes and lengths and at which price, `model` how a clip is made without ever paying for it twice, `calls` what an
answer, or none, means, `clock` how long to wait, `download` when a file is whole, and `pictures` how a service gets to
see the two photos.
"""

from interpose_sfm.video_models.hosted.luma import LumaModel
from interpose_sfm.video_models.hosted.runway import RunwayModel

__all__ = ["LumaModel", "RunwayModel"]
