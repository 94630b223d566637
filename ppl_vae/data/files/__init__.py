"""Data files: formats, download, checksums, and the folders where they are looked for."""
