"""Every command, with words that it takes; some of them need a file that is not there."""

ENTRIES = {
    "verify.__main__": "--only em-exact",
    "verify.tensor_power": "",
    "verify.softmax_tensor_power": "",
    "verify.em_construction": "",
    "verify.spectral_construction": "",
    "verify.resources": "",
    "verify.certified_regions": "",
    "verify.precision": "",
    "verify.reference_levels": "--tasks 2",
    "verify.theorem": "mine.py:MINE",
    "training.train": "--preset smoke --out new",
    "training.compare": "d2",
    "training.evaluate": "em --tasks 2 --dims 2 --components 2",
    "training.benchmark": "set-transformer --sets 2",
    "training.count": "cluster-pfn --sets 2 --out new",
    "training.clustering": "--data moons --methods ward",
    "training.curves": "nowhere --out new",
    "training.real_data": "",
    "training.release": "nowhere --evaluation nowhere --name d8",
    "training.throughput": "--preset smoke",
}
