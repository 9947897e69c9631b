"""The labelled data sets of the studies, rebuilt from public repositories at pinned commits.

    python -m studies.data build ../shared/data                    # all of them, into a folder
    python -m studies.data build ../shared/data --only target train/news/conll2003
    python -m studies.data check ../shared/data                    # does a folder hold what would be built?
    python -m studies.data table                                   # sources and licences, as in docs/data_sets.md

What there is to know of a set (repository, commit, paths, names of labels, licence) is in ``sources.yaml``. Each set
has a reader in ``readers/``, which makes texts with entities of the repository's files; ``building`` leaves out and
draws, the same way for all sets of a kind. Nothing that is downloaded is run, and none of it is checked out.
"""
