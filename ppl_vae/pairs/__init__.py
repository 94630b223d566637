"""A model and its guide as the package sees them: programs, sites, inputs and terms."""
