#!/bin/bash
# Random outages: the merged file is the one that rrdtool would have, had the old server merely
# paused (tests/paused.c).  Each failure comes with the command that repeats it.  SEED repeats a
# run, CASES makes it longer; thousands are a matter of a minute or two:
#     CASES=5000 bash tests/sys-paused.sh
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/trial.sh"
trial paused
