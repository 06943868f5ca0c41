"""New training rows from old ones: a method per function, a registry in :mod:`.rewrites`."""
