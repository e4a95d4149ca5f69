"""Links into models: base models continued, and several of them joined into one.

* ``ties.py``: what ties two models: links, lengths of their baselines, what both hold.
* ``overlaps.py``: these, read off the points of the models.
* ``similarity_fit.py``, ``alignment.py``: the similarity on which all ties agree, or why the models stay apart.
* ``reprojection_fit.py``: the same similarity by the pixels, where links have points.
* ``sightings.py``: where photos of one model see points of the other.
* ``placing.py``: the ties of two models, or of a single photo and a model, collected; photos moved into a model.
* ``gps.py``: distance and scale by GPS positions of photos, where all else leaves them open.
* ``adjustment.py``: one bundle adjustment with links as residuals.
* ``mapping_run.py``: the files and options that joining and the final mapping work on.
* ``joiner.py``: the whole way, over all models of a run.
* ``audit.py``: what an adjusted model says of its links and base models.
* ``final_mapping.py``, ``global_final_mapping.py``: stage 9: base models continued with the links, joined, audited.
"""
