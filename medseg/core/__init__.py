"""What every folder uses: images, cases, labels, errors, progress, files. Imports nothing else of medseg."""
