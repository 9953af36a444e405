"""Does a figure depend on how it is read? By batch size, padding, packing, accumulation, dtype, kernel and device."""
