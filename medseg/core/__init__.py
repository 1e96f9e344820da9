"""What every folder uses: images, cases, labels, errors, progress, files. Nothing here imports from the rest of medseg."""
