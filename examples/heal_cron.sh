#!/bin/sh
# Heals a task from cron, once a night: what people have corrected becomes the next version, if it passes the gate.
#
#   15 3 * * *  /srv/app/heal_cron.sh tickets >> /var/log/heal.log 2>&1
#
# HEALDAG_MODELS is the folder of models that the services read; they take a new version over with
# reload_if_changed(). A heal that is still running is not disturbed: the second one says whose it is and ends.
set -eu
task="${1:?the name of a task}"
: "${FEEDBACK:=/srv/app/feedback.db}"

# First back to the version before, where people say that the last heal has made things worse.
healdag heal "$task" --feedback "$FEEDBACK" --guard
healdag heal "$task" --feedback "$FEEDBACK" --at-least 50 --by cron --json
