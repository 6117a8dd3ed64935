"""Training, evaluation and export of models; never imported by inference."""
