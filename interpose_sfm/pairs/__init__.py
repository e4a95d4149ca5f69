"""One weak pair of photos, from the view graph to a decision on its link."""
