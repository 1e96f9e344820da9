"""Logs of a training run for TensorBoard and MLflow: its figures and pictures, as files in the run's folder."""
