"""Every figure that this project quotes is measured here: scenarios, floors, the ablation, the soak.

Belongs here: measuring the product from outside, in processes of its own. Does not: anything that the product needs.
"""
