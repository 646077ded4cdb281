"""Tag a commit, ship a model: releases a fine-tuned language model in every format its users run."""
