"""Files of data: formats, download, checksums, and the places where they are looked for."""
