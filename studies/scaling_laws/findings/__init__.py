"""The findings of the papers, one a module. Each `find` takes a `Laboratory`."""
