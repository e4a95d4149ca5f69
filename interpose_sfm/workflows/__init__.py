"""What the package does for its users, from beginning to end; each verb of the public API is here."""
