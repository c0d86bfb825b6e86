"""Run every benchmark, or those named on the command line: ``python -m benchmarks.run record rollout``.

Each runs in a process of its own, alone on the machine, and prints one JSON object a line:
``{"bench": ..., "value": ..., "unit": ..., ...}``.
"""

import argparse
import subprocess
import sys

SUBJECTS = (
    "peak",
    "record",
    "clips",
    "store",
    "importing",
    "alignment",
    "loader",
    "train",
    "rollout",
    "checkpoints",
    "endurance",
    "play",
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run every benchmark, or those named.")
    parser.add_argument("subjects", nargs="*", default=list(SUBJECTS), metavar="SUBJECT", help=", ".join(SUBJECTS))
    subjects = parser.parse_args().subjects
    if unknown := sorted(set(subjects) - set(SUBJECTS)):
        parser.error(f"unknown subject(s) {', '.join(unknown)}; choose from {', '.join(SUBJECTS)}")
    failed: list[str] = []
    for subject in subjects:
        print(f"benchmarks: {subject}", file=sys.stderr, flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{subject}"], check=False).returncode:
            failed.append(subject)
    if failed:
        print(f"benchmarks: failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
