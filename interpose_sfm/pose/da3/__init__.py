"""Depth Anything 3 (Lin et al., 2025) as pose estimator: depths and cameras of a few views in one forward pass.

`estimator` is what the rest of the package sees. `network` runs the published network classes that `network_code`
finds, built by `architectures` from plain numbers, with the weights that `checkpoint` reads, on the pictures that
`pictures` cuts. `point_maps` beside this package turns what the network says into evidence and correspondences.
"""
