"""Studies: strategies, backends and seeds in one table, resumable, with a page."""
