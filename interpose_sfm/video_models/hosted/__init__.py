"""Video models behind the APIs of Runway, Luma and Google.

`runway`, `luma`, `luma_agents` and `veo` say how the services are asked, `catalogue` which of their models take a last
frame, in which sizes and lengths and at which price, `model` how a clip is made without ever paying for it twice,
`calls` what an answer, or none, means, `web` what it may lead to, `clock` how long to wait, `download` when a file is
whole, and `pictures` how a service gets to see the two photos; `google_sdk` gives Google's SDK the face of the others.
"""

from interpose_sfm.video_models.hosted.luma import LumaModel
from interpose_sfm.video_models.hosted.luma_agents import LumaAgentsModel
from interpose_sfm.video_models.hosted.runway import RunwayModel
from interpose_sfm.video_models.hosted.veo import VeoModel

__all__ = ["LumaAgentsModel", "LumaModel", "RunwayModel", "VeoModel"]
