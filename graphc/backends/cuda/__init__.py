"""CUDA: kernels as Python functions for numba's compiler, libraries by CuPy."""
