"""The camera and the options of the views that the tests of learned matching share."""

from interpose_sfm.options import MatchingOptions
from interpose_sfm.products import Intrinsics

OPTIONS = MatchingOptions(device="cpu", max_keypoints=400, learned_max_image_px=320, max_frame_keypoints=150)

CAMERA = Intrinsics(320, 240, 290.0, 160.0, 120.0, is_trusted=True)
