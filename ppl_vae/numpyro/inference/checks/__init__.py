"""Checks of a user's programs before the first step: what they are, what they reach, and whether rows stay apart."""
