"""Log-densities as arithmetic on arrays of any library."""
