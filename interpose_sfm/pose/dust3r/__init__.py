"""DUSt3R (Wang et al., CVPR 2024) as pose estimator: point maps of pairs of views, aligned to camera poses of all.

`estimator` is what the rest of the package sees. `network` runs the published network classes that `network_code`
finds with the weights that `checkpoint` reads, on the pictures that `crops` cuts; `inference` sees to it that every
image is encoded once and every ordered pair decoded once. `point_maps` beside this package turns maps into poses;
`published_alignment` does the same with the published global aligner.
"""
