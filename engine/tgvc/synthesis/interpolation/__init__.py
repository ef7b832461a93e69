"""The generator of kind ``interpolation``: all frames between two key pictures by diffusion, as T-GVC decodes them."""
