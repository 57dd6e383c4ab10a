"""Apache Beam pipelines for features and reconstructions of many images (extra `beam`)."""
