"""Trained models, whatever they come from: runs, packages, nnU-Net folders."""
