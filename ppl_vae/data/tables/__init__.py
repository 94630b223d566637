"""Tables of mixed columns as arrays of numbers: the kinds of columns, and their units."""
