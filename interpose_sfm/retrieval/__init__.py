"""Which pairs of a large collection are worth matching: by looks, by order, by GPS, or from a list."""
