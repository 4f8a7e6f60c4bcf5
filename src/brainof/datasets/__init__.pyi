from .fetch import fetch_chb_mit as fetch_chb_mit
from .fetch import fetch_eegmat as fetch_eegmat
from .fetch import fetch_eegmmidb as fetch_eegmmidb
from .recipe import Recipe as Recipe
from .recipe import find_recipe as find_recipe
from .recipe import recipe_names as recipe_names
from .run import Summary as Summary
from .run import prepare as prepare
