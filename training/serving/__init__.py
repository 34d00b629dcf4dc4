"""A released network, loaded and used: estimator, views, bounded EM layers, the range of its training."""
