"""The quality of a guide and its aggregate posterior: gaps, diagnostics, calibration, surgery."""
