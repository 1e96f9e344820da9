"""What the module MedSeg does without 3D Slicer."""
