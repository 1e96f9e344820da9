"""Interpret the names of files and folders: cases, channels, images, labels."""
