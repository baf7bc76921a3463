"""The command line."""

import argparse
import sys

from build import build
from cover import cover
from report import report
from sources import chosen
from tree import make
from trials import try_all

STEPS = ("instrument", "build", "cover", "run", "report")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/mutants/mutants", description="Finds changes of the code that no test notices.")
    parser.add_argument("--jobs", type=int, default=2, help="how many programs run at a time (2)")
    parser.add_argument("--longest-s", type=float, default=20, help="`run` leaves out tests that take more of the CPU's time (20)")
    parser.add_argument("step", choices=(*STEPS, "all"))
    parser.add_argument("names", nargs="*", metavar="MODULE_OR_FILE", help="all modules by default")
    arguments = parser.parse_args()
    paths = chosen(arguments.names)
    for step in STEPS if arguments.step == "all" else [arguments.step]:
        match step:
            case "instrument":
                mutants = make(paths)
                print(f"{len(mutants)} mutants, {sum(mutant.id > 0 for mutant in mutants)} of them not in constants")
            case "build":
                build(arguments.jobs)
            case "cover":
                cover(arguments.jobs)
            case "run":
                try_all(paths, arguments.jobs, arguments.longest_s)
            case "report":
                print(report(paths))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
