"""An exploration as a page for the browser."""
