"""From images to statistics to ``amax``."""
