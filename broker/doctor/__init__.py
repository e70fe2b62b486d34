"""``panelbus doctor``: what is wrong with a broker's host, and what to do about it.

`facts` and `network` look, `findings` judges (pure), `__main__` has the list of checks.
"""
