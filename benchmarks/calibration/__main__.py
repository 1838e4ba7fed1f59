"""``python -m benchmarks.calibration``."""

from benchmarks.calibration import main

main()
