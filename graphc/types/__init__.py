"""Types: dtypes and promotion, symbolic sizes, tensor types, errors, configuration."""
