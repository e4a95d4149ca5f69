"""Models in the forms that other programs read: nerfstudio, gsplat, Brush, OpenSplat, Postshot, COLMAP itself."""
