"""What lies on disk: content keys, whole files, locks, stores, the output folder."""
