"""The Gaussian-process engine on BoTorch and GPyTorch."""
