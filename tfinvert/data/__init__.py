"""Photographs: embedded photos, an image folder or TensorFlow Datasets → batches."""
