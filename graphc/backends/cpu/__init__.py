"""The CPU backend: kernels printed as LLVM code, compiled as numba compiles."""
