"""Networks of segmentation-models-pytorch: 2D, on encoders that were pretrained on photographs."""
