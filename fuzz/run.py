"""Runs the harnesses one after the other, each for a bounded time; exits 1 if one finds something."""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import names

HERE = Path(__file__).parent
GRACE = 30  # seconds that a harness may take beyond its time before it counts as hanging


def run(name: str, seconds: int, plant: str | None = None, findings: Path = HERE / "findings") -> tuple[bool, str]:
    """Whether the harness came to its end without a finding, and what it printed."""
    findings.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(HERE / "harness.py"), name, *(["--plant", plant] if plant else [])]
    limits = [f"-max_total_time={seconds}", "-max_len=700", "-timeout=10", "-rss_limit_mb=1024", "-seed=1"]
    command += [*limits, f"-artifact_prefix={findings}/{name}-"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE, check=False)
    except subprocess.TimeoutExpired:
        return False, f"{name} did not come to its end"
    return done.returncode == 0, done.stdout + done.stderr


def main() -> int:
    known = names()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--seconds", type=int, default=10, help="for each harness (default: 10)")
    parser.add_argument("--plant", metavar="FAULT", help="put a fault in, to see it found")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(known):
        parser.error(f"there is no harness {', '.join(sorted(unknown))}")
    wanted = arguments.names or list(known)
    clean = True
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda name: run(name, arguments.seconds, arguments.plant), wanted)
        for name, (good, output) in zip(wanted, results, strict=True):
            clean = clean and good
            executed = [line for line in output.splitlines() if line.startswith("Done ")]
            print(
                f"{name}: {executed[-1].lower() if good and executed else 'clean' if good else 'FINDING'}", flush=True
            )
            if not good:
                print(output)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
