"""How long a person waits before anything happens: whole processes, beside `python -c pass`.

python benchmarks/startup.py [--rounds 9] [--bundle FOLDER] [--photo FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from processes import OPSIN, PYTHON, interleaved, make_bundle, make_photo


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bundle", type=Path, help="a bundle or run; else a small one is made")
    parser.add_argument("--photo", type=Path, help="a picture; else 12 megapixels are made")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        bundle, photo = options.bundle, options.photo
        if bundle is None:
            bundle = Path(temporary, "bundle")
            make_bundle(bundle)
        if photo is None:
            photo = Path(temporary, "photo.jpg")
            make_photo(photo, 4000, 3000)
        commands = {
            "python -c pass": [*PYTHON, "-c", "pass"],
            "import opsin": [*PYTHON, "-c", "import opsin"],
            "opsin --help": [*OPSIN, "--help"],
            "opsin predict BUNDLE PHOTO": [*OPSIN, "predict", str(bundle), str(photo)],
        }
        results = interleaved(commands, options.rounds)

    base = results["python -c pass"].seconds
    print(f"{'whole process, median of ' + str(options.rounds):32} wall s   ratio   peak MB")
    for name, result in results.items():
        ratio = result.seconds / base
        print(f"{name:32} {result.seconds:6.3f} {ratio:7.1f} {result.megabytes:9.0f}")


if __name__ == "__main__":
    main()
