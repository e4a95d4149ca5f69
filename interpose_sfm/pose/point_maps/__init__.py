"""From point maps of pairs of views to cameras, evidence and correspondences, whichever network the maps come from.

`maps` is what a network says of an ordered pair, `crops` the way of pixels between photo and what a network sees.
`pair_geometry` and `alignment` turn maps into poses; `agreement` says how far they can be believed, and `keypoints`
carries key points from A to B.
"""
