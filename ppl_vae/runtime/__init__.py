"""Files, locks, memory and versions: what a long run needs of the machine."""
