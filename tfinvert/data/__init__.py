"""Image sources (sample photographs, folders, TensorFlow Datasets), caches and augmentation."""
