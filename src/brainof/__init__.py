"""Brain-OF: one foundation model for fMRI, EEG and MEG.

Public names are imported on first use, so that `import brainof` stays fast; `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
