#!/bin/bash
# Random outages where live has other RRAs than the backup, or another step (tests/reshape.c).
# Each failure comes with the command that repeats it.  SEED repeats a run, CASES makes it longer;
# thousands are a matter of a minute or two:
#     CASES=5000 bash tests/sys-reshape.sh
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/trial.sh"
trial reshape
