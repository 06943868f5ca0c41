"""Several models as one: learned weights over their answers, and the policy when to ask whom."""
