"""What a guide and its aggregate posterior are worth: gaps, diagnostics, calibration, surgery."""
