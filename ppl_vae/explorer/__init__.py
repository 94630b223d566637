"""One offline page for a fit: sliders over its latents, with the decoder inside."""

from .page import explorer as explorer
from .page import to_html as to_html
