"""New processes, forked from a clean one that has imported what is slow: none of them starts Python anew."""

import multiprocessing

processes = multiprocessing.get_context('forkserver')
processes.set_forkserver_preload(
    ['kdeov_mm.registered', 'kdeov_mm.apis.torch_backend', 'kdeov_mm.evaluation.pictures', 'kdeov_mm.cli.train']
)
