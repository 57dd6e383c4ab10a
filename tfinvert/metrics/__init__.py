"""Reconstruction metrics, LPIPS, the Fréchet distance, and the evaluation of inverters."""

from tfinvert.metrics.reconstruction import (
    SSIM_WINDOW,
    compute_metrics,
    mean_pairwise_distance,
    normalized_error,
    per_image_distance,
    psnr,
    psnr_per_image,
    ssim,
    ssim_per_image,
)

__all__ = [
    "SSIM_WINDOW",
    "compute_metrics",
    "mean_pairwise_distance",
    "normalized_error",
    "per_image_distance",
    "psnr",
    "psnr_per_image",
    "ssim",
    "ssim_per_image",
]
