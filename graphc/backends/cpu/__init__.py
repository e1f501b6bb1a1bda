"""The CPU backend: kernels printed as LLVM code, compiled by numba's code generator."""
