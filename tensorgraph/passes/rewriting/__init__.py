"""Rewriting by users: one function in a graph for another, found by what it does or by where it stands."""

from tensorgraph.passes.rewriting.placing import replace_at
from tensorgraph.passes.rewriting.regions import Region, region
from tensorgraph.passes.rewriting.search import rewrite
from tensorgraph.passes.rewriting.splitting import split

__all__ = ["Region", "region", "replace_at", "rewrite", "split"]
