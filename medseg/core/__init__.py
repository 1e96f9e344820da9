"""The basis of all other folders: images, cases, labels, errors, progress, files. Imports nothing else of medseg."""
