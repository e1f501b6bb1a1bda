"""The CUDA backend: kernels printed as Python that numba compiles for devices."""
