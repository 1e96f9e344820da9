"""Shapes that people drew on images, in files of their own: COCO's and labelme's."""
