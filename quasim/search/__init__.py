"""Ask/tell strategies over one search space."""
from quasim.search._base import Prior as Prior, Strategy as Strategy
from quasim.search.random import RandomSearch
def strategies(): return ("evolution", "random")
def strategy(name, space, seed): return RandomSearch(space, seed)
